/* thread.h - a thread's life, as the C and Go files of this package share it. */
#ifndef THREAD_H
#define THREAD_H

#include "gate.h"
#include "os.h"
#include "pythread.h"

#include <stdbool.h>
#include <stdint.h>

typedef void (*thread_func)(void *);

/*
 * Set, before other threads exist, where Go's OS threads serve this library alone: all signals stay
 * blocked there between threads.
 */
extern bool signals_stay_blocked;

/* Set, before other threads exist, where a start has to take room first. False where there is none,
   and none can be made. NULL where nobody counts. */
extern bool (*thread_takes_room)(void);

/* How many threads have come to their OS threads, and how many have left them to others, since the
   library was loaded. On a cache line of their own, which starts leave alone. */
extern struct thread_counts {
    _Alignas(64) atomic_uint came;
    atomic_uint left;
    /* Who waits on came is woken at this number. */
    atomic_uint awaited;
} thread_counts;

/* Counts one that has come. */
void thread_came(void);

/* Addresses by which ThreadSanitizer is told that a start happens before the thread, and the thread
   before its join. Two threads may have one, so that a race of theirs may not be seen. */
enum { THREAD_MARKS = 1024 };
extern uint64_t thread_start_marks[THREAD_MARKS], thread_end_marks[THREAD_MARKS];

static inline uint64_t *thread_start_mark(thread_func func, const void *arg)
{
    return &thread_start_marks[((uintptr_t)func ^ (uintptr_t)arg >> 3) % THREAD_MARKS];
}

static inline uint64_t *thread_end_mark(PyThread_ident_t ident)
{
    return &thread_end_marks[ident % THREAD_MARKS];
}

/* What a thread inherits from its creator. */
struct inheritance {
    uint64_t float_mode;
#ifndef _WIN32
    os_signals signal_mask;
    char name[OS_NAME_SIZE];
    int reuse; /* the mode of reuse that was set */
#endif
};

/* What a thread inherits that the calling thread creates in this mode of reuse. The signal mask is
   the visit's, if that blocks signals. */
struct inheritance thread_inheritance(int reuse, const struct visit *visit);

/* Runs function(arg), in the name of the calling thread, on an OS thread where Go is in reach. */
void thread_ask_elsewhere(void (*function)(void *), void *arg);

/* Waits until there is room, and takes it, for a thread that has come to an OS thread on which it
   cannot run. */
void thread_wait_for_room(void);

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
