/* visit.h - how C calls the //export functions. */
#ifndef VISIT_H
#define VISIT_H

#include "system/os.h"

#include <stdbool.h>
#include <stdint.h>

/* A call of the //export functions, and what it has to put back. */
struct visit {
    bool blocks_signals;
    os_signals signal_mask; /* the caller's, where the visit blocks signals */
    uint64_t float_mode;    /* the caller's */
};

/*
 * Begins a visit, in which the caller may call the //export functions. False where Go is not here,
 * or out of reach.
 *
 * In a C program all signals are blocked until leave_go. For Go runs on the small stack of a
 * goroutine, where no handler of the program may run. So a visit is short: nothing in it waits for
 * another thread of the program. Go computes with the modes with which a process begins: with the
 * caller's an exception might end the process.
 */
bool enter_go(struct visit *visit);
void leave_go(const struct visit *visit);

#endif
