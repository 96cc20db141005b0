/* trampoline.h - runs a C function as a thread on an OS thread of the Go runtime. */
#ifndef TRAMPOLINE_H
#define TRAMPOLINE_H

#include "func.h"
#include "pythread.h"
#include "system/os.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Set before other threads exist, if Go's OS threads serve only this library. Then all signals stay
   blocked on them between threads. */
extern bool signals_stay_blocked;

/* What a thread inherits from its creator. */
struct inheritance {
    uint64_t float_mode;
#ifndef _WIN32
    os_signals signal_mask;
    char name[OS_NAME_SIZE];
    int reuse; /* the mode of reuse at the start */
#endif
};

/* Returns what a new thread inherits from the calling thread, in this mode of reuse. float_mode is
   the mode that the caller had before its visit. signal_mask is the mask that it had, if the visit
   blocks signals; else NULL. */
struct inheritance thread_inheritance(int reuse, uint64_t float_mode,
                                      const os_signals *signal_mask);

/*
 * What a thread on a goroutine is started with. A goroutine may wait for the start (runner.c). The
 * memory is Go's, and C uses it only until the goroutine's call of C returns.
 */
struct thread_start {
    PyThread_ident_t ident;
    /* Where the goroutine waits. */
    int processor;
    unsigned long os_thread;
    /* 0, or the processors on which the OS thread may run again: see runner_moves_away. */
    unsigned long processors;
    /* START_IS_MADE after the start has set all below. */
    atomic_uint state;
    thread_func func;
    /* The function's argument, as a number: a Go program may use a pointer to its own memory, which
       cgo does not let Go memory have. */
    uintptr_t arg;
    struct inheritance creator;
    bool is_joinable;
    bool is_quick; /* another start is expected at once */
    /* The thread that the goroutine has run before, if no join has been told of its end yet. */
    PyThread_ident_t ended;
};
enum { START_IS_AWAITED, START_MUST_WAKE, START_IS_MADE, START_IS_OFF /* none comes */ };

/* Whether a thread can run on an OS thread of Go. */
enum os_thread_state {
    OS_THREAD_IS_FIT,
    OS_THREAD_IS_UNFIT,   /* another thread has left something; so the OS thread must end */
    OS_THREAD_NEVER_ENDS, /* Go never ends it */
    OS_THREAD_IS_IDLE     /* no thread was started for a while (runner.c) */
};

/* Prepares the calling OS thread, which is Go's, for a thread of this creator. */
enum os_thread_state thread_prepare(const struct inheritance *creator);

/* What happens to an OS thread of Go after a thread on it. */
enum os_thread_fate {
    OS_THREAD_IS_REUSABLE,
    OS_THREAD_ENDS,        /* it is unfit for another thread, and ends */
    OS_THREAD_ENDS_WATCHED /* it is unfit, and ends; own_take_ends reports its end */
};

/* Notes that Go never ends the calling OS thread. */
void thread_note_gos_first(void);

/*
 * Runs a thread that was started on the calling OS thread, which thread_prepare has found fit,
 * until its function returns, exits or is cancelled. If the function forks, this does not return in
 * the child, which must not enter Go.
 */
enum os_thread_fate thread_run(const struct thread_start *start);

/* Ends the calling thread, or the calling OS thread if it does not run a thread. */
__attribute__((noreturn)) void thread_exit(void);

/* Ends what thread_run began, after a Go callback of func has left it by a panic or Goexit. */
void thread_leave(void);

#endif
