/* trampoline.h - how a C function runs as a thread on one of Go's OS threads. */
#ifndef TRAMPOLINE_H
#define TRAMPOLINE_H

#include "func.h"
#include "pythread.h"
#include "system/os.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Set, before other threads exist, where Go's OS threads serve this library alone: all signals stay
 * blocked there between threads.
 */
extern bool signals_stay_blocked;

/* What a thread inherits from its creator. */
struct inheritance {
    uint64_t float_mode;
#ifndef _WIN32
    os_signals signal_mask;
    char name[OS_NAME_SIZE];
    int reuse; /* the mode of reuse that was set */
#endif
};

/* What a thread inherits that the calling thread creates in this mode of reuse. float_mode is the
   caller's, where Go's is in use at the moment. signal_mask is the caller's, where signals are
   blocked at the moment; else NULL. */
struct inheritance thread_inheritance(int reuse, uint64_t float_mode,
                                      const os_signals *signal_mask);

/* What is to become of an OS thread of Go's after a thread on it. */
enum os_thread_fate {
    OS_THREAD_IS_REUSABLE,
    OS_THREAD_ENDS,         /* it is unfit for another thread */
    OS_THREAD_ENDS_WATCHED, /* so too; own_take_ends tells when it has ended */
    OS_THREAD_WAS_UNFIT,    /* so too; and the thread has not run */
    OS_THREAD_NEVER_ENDS    /* the thread has not run, as it may leave the OS thread unfit */
};

/* Tells which OS thread Go never ends: the caller's. */
void thread_note_gos_first(void);

/*
 * Runs func(arg) as the thread `ident` on the calling OS thread, which is Go's, until it returns,
 * exits or is cancelled. In the child of a fork made by func, from where there is no way back into
 * Go, it does not return.
 */
enum os_thread_fate thread_run(thread_func func, void *arg, PyThread_ident_t ident,
                               struct inheritance creator);

/* Ends the calling thread, or the OS thread where it runs none. */
__attribute__((noreturn)) void thread_exit(void);

/* Ends what thread_run began, where a Go callback of func took the goroutine out of it. */
void thread_leave(void);

#endif
