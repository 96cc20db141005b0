/* status.h - what the threads do at the moment, for dumps and traces. */
#ifndef STATUS_H
#define STATUS_H

#include "identity.h"
#include "pythread.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Makes the calling OS thread the thread with this ident; 0: none of this library. Returns the old
   ident. */
PyThread_ident_t status_become(PyThread_ident_t ident);

/* Hides the caller's thread, which has ended, from dumps. The identity of the caller stays. */
void status_end(void);

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
