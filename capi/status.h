/*
 * status.h - who the calling OS thread is, and what it does at the moment: known to itself, and
 * shown to a dump.
 */
#ifndef STATUS_H
#define STATUS_H

#include "os.h"
#include "pythread.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The ident of the thread that the calling OS thread runs; 0: no thread of ours. status.c alone
   changes it. */
extern OS_THREAD_LOCAL PyThread_ident_t self_ident;

/* The ident that the caller is told to have; 0: status_find_caller finds it, as it does but once on
   an OS thread that is no thread of ours. */
extern OS_THREAD_LOCAL PyThread_ident_t caller_ident;
PyThread_ident_t status_find_caller(void);

static inline PyThread_ident_t status_caller(void)
{
    PyThread_ident_t ident = caller_ident;
    return __builtin_expect(ident != 0, 1) ? ident : status_find_caller();
}

/* The kernel's number for the calling OS thread. It costs a system call once in each process. */
unsigned long status_native_id(void);

/* Makes the calling OS thread the thread with this ident; 0: no thread of ours. The ident before.
 */
PyThread_ident_t status_become(PyThread_ident_t ident);

/* Takes the calling OS thread's thread, which is over, out of sight. Who the caller is stays. */
void status_end(void);

/* self_ident, for Go code, which cannot read a thread-local variable. */
PyThread_ident_t status_current(void);

/* Has the calling OS thread make calls in the name of a thread that is seen elsewhere; 0: no more.
 */
void status_act_for(PyThread_ident_t ident);

enum status_reason { WAITS_FOR_NOTHING, WAITS_FOR_LOCK, WAITS_FOR_MUTEX, WAITS_FOR_THREAD };

/* What a thread waits for, and since when (status_now). */
struct status_wait {
    enum status_reason reason;
    uintptr_t what; /* the lock, the mutex, or the thread's ident */
    int64_t since;
};

/*
 * Says what the calling OS thread waits for from now on, be it a thread of ours or not. When the
 * wait is over, status_wait_ends gets what this returned: what the code waits for that a signal
 * handler interrupted, if the caller is that handler.
 */
struct status_wait status_wait(enum status_reason reason, uintptr_t what);
void status_wait_ends(struct status_wait before);

/*
 * Says that the calling OS thread has started a thread, which took since that time (status_now).
 * For a trace alone.
 */
void status_started(PyThread_ident_t ident, int64_t since);

/* The time, to the nanosecond while a trace is written, else to some milliseconds. */
int64_t status_now(void);

/* What a trace shows: a start, a thread from its begin to its end, a wait. */
struct status_event {
    enum { HAS_STARTED, HAS_RUN, HAS_WAITED } what;
    PyThread_ident_t ident; /* of the thread that was started, or has run */
    struct status_wait wait;
    int64_t since;
};

/* While not NULL, called on the OS thread that did something when that is over. *memory, NULL at
   first, is the tracer's and belongs to one OS thread at a time. */
typedef void status_tracer(void **memory, struct status_event event);
extern _Atomic(status_tracer *) status_traced_by;

/* What others see of a thread. */
struct status_view {
    PyThread_ident_t ident;
    bool is_ours; /* else it is an OS thread of the program's that waits */
    unsigned long native_id;
    int64_t since;
    struct status_wait wait;
    unsigned waits; /* how many waits it has begun: with the same number it is the same wait */
};

/* The places at which threads can be seen, from 0 on. All that follows may be called in a signal
   handler. */
unsigned status_places(void);

/* Reads what the thread at a place does. False where there is none. */
bool status_look(unsigned place, struct status_view *view);

/* A number at each place, 0 at first, for whoever looks; one at a time may. */
unsigned *status_mark(unsigned place);

/* In the child of a fork: forgets the threads of the parent, and shows the caller, which forked. */
void status_forget_all(void);
void status_survive(void);

#endif
