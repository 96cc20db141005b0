/* visit.h - lets C call the //export functions. */
#ifndef VISIT_H
#define VISIT_H

#include "system/os.h"

#include <stdbool.h>
#include <stdint.h>

/* A visit: calls of the //export functions, and what leave_go restores. */
struct visit {
    bool blocks_signals;
    os_signals signal_mask; /* the caller's, if the visit blocks signals */
    uint64_t float_mode;    /* the caller's */
};

/*
 * Begins a visit, in which the caller may call the //export functions. False if Go is not here, or
 * out of reach.
 *
 * In a C program all signals are blocked until leave_go, because Go runs on the small stack of a
 * goroutine. A handler of the program would overflow that stack. So a visit is short: nothing in it
 * waits for another thread of the program. Go runs with the floating-point modes with which a
 * process begins, because with the caller's modes an exception could end the process.
 */
bool enter_go(struct visit *visit);
void leave_go(const struct visit *visit);

#endif
