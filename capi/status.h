/*
 * status.h - the identity of the calling OS thread, and what it does at the moment, for itself and
 * for a dump.
 */
#ifndef STATUS_H
#define STATUS_H

#include "os.h"
#include "pythread.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The ident of the thread that the calling OS thread runs; 0: not a thread of this library. Only
   status.c changes it. */
extern OS_THREAD_LOCAL PyThread_ident_t self_ident;

/* The ident of the caller. 0: not known yet, status_find_caller finds it. This happens once on an
   OS thread that does not run a thread of this library. */
extern OS_THREAD_LOCAL PyThread_ident_t caller_ident;
PyThread_ident_t status_find_caller(void);

static inline PyThread_ident_t status_caller(void)
{
    PyThread_ident_t ident = caller_ident;
    return __builtin_expect(ident != 0, 1) ? ident : status_find_caller();
}

/* The kernel's number for the calling OS thread. The first call in each process is a system call.
 */
unsigned long status_native_id(void);

/* True if the calling OS thread is in capi.Do, and so has another thread's identity. The first one
   changes that, and returns what was so before. */
bool status_exchange_in_do(bool in_do);
bool status_is_in_do(void);

/* Makes the calling OS thread the thread with this ident; 0: none of this library. Returns the old
   ident. */
PyThread_ident_t status_become(PyThread_ident_t ident);

/* Hides the caller's thread, which has ended, from dumps. The identity of the caller stays. */
void status_end(void);

/* Returns self_ident, for Go code, which cannot read a thread-local variable. */
PyThread_ident_t status_current(void);

/* Makes the calling OS thread act as a thread that dumps see elsewhere. 0 ends this. */
void status_act_for(PyThread_ident_t ident);

enum status_reason { WAITS_FOR_NOTHING, WAITS_FOR_LOCK, WAITS_FOR_MUTEX, WAITS_FOR_THREAD };

/* What a thread waits for, and when the wait began (status_now). */
struct status_wait {
    enum status_reason reason;
    uintptr_t what; /* the lock, the mutex, or the thread's ident */
    int64_t since;
};

/*
 * Notes what the calling OS thread waits for. When the wait is over, the caller gives the result to
 * status_wait_ends. The result is the wait of the code that a signal handler has interrupted, if
 * the caller is that handler.
 */
struct status_wait status_wait(enum status_reason reason, uintptr_t what);
void status_wait_ends(struct status_wait before);

/* Notes, for a trace, that the calling OS thread has started a thread. The start began at `since`
   (status_now). */
void status_started(PyThread_ident_t ident, int64_t since);

/* The time: exact to a nanosecond while a trace is written, else to some milliseconds. */
int64_t status_now(void);

/* An event of a trace: a start, a thread from its beginning to its end, or a wait. */
struct status_event {
    enum { HAS_STARTED, HAS_RUN, HAS_WAITED } what;
    PyThread_ident_t ident; /* of the thread that was started or has run */
    struct status_wait wait;
    int64_t since;
};

/* If not NULL, status.c calls it on the OS thread of an event, when the event is over. *memory is
   NULL at first. Only the tracer uses it, and it belongs to one OS thread at a time. */
typedef void status_tracer(void **memory, struct status_event event);
extern _Atomic(status_tracer *) status_traced_by;

/* What a dump sees of a thread. */
struct status_view {
    PyThread_ident_t ident;
    bool is_ours; /* false: an OS thread of the program that waits */
    unsigned long native_id;
    int64_t since;
    struct status_wait wait;
    unsigned waits; /* how many waits the thread has begun: the same number means the same wait */
};

/* The number of places at which dumps look for threads, from 0 on. This function and those below
   may be called in a signal handler. */
unsigned status_places(void);

/* Reads what the thread at a place does. False if there is none. */
bool status_look(unsigned place, struct status_view *view);

/* A number at each place, 0 at first, for the dump. One dump at a time may use it. */
unsigned *status_mark(unsigned place);

/* In the child of a fork: the first forgets the threads of the parent, the second shows the caller.
 */
void status_forget_all(void);
void status_survive(void);

#endif
