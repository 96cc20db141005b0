/* gate.h - whether this process has a Go runtime, and how an OS thread calls it. */
#ifndef GATE_H
#define GATE_H

#include "os.h"

#include <stdatomic.h>
#include <stdbool.h>

/* True where the Go runtime runs in this process. */
bool go_is_here(void);

/* True in the child of a fork whose parent had begun to start Go: this process never has one. */
bool go_is_lost(void);

/* True in a Go program. False in a C program, where Go runs for this library alone. */
bool go_is_programs_own(void);

/*
 * Starts Go if it sleeps, and waits until it runs. False where the system refuses Go an OS thread
 * or memory; the next call tries again. Not called where go_is_lost.
 */
bool wake_go(void);

/* A call of the //export functions, and what it has to put back. */
struct visit {
    bool blocks_signals;
    os_signals signal_mask; /* the caller's, where the visit blocks signals */
};

/*
 * Begins a visit, in which the caller may call the //export functions. False where Go is not here,
 * or out of reach.
 *
 * In a C program all signals are blocked until leave_go. For Go runs on the small stack of a
 * goroutine, where no handler of the program may run. So a visit is short: nothing in it waits for
 * another thread of the program.
 */
bool enter_go(struct visit *visit);
void leave_go(const struct visit *visit);

/* Tells that Go is about to end the calling OS thread, which makes no more visits. */
void thread_goes_without_go(void);

/* Tells that the calling OS thread is Go's. Go takes calls on the stack alone that it has there. */
void thread_is_gos(void);

/* True where Go is here, but the caller must not enter it: Go has left the calling OS thread, or
   the caller is on a stack of the program's own making. */
bool go_is_out_of_reach(void);

/* ------------------------------------------------------------------------ the library for C */

/*
 * Tells, in a constructor, that Go does not run yet. start, called once when the first thread is
 * about to start, begins to start Go; false where the system refuses. NULL: Go has begun by itself.
 */
void go_sleeps(bool (*start)(void));

/* What the library could not do for the program at load, for a dump; NULL where all was done. */
extern const char *go_shortcoming;

/* Tells that Go runs. */
void go_is_up(void);

/* Tells that Go, which has not come up yet, was refused an OS thread, and tries again. */
void go_was_refused(void);

#endif
