/* mutex.h - how a waiter for a PyMutex and the parking lot deal with each other. */
#ifndef MUTEX_H
#define MUTEX_H

#include "pylock.h"

#include <stdatomic.h>
#include <stdbool.h>

/* A waiter, in memory of its own. All but word and mutex is guarded by the lock of its bucket. */
struct waiter {
    atomic_uint word; /* ASLEEP, or AWAKE once it was woken */
    unsigned epoch;   /* of the bucket in which it stands; 0: it does not */
    PyMutex *mutex;
    struct waiter *previous, *next; /* those of the same mutex */
    struct waiter *next_first;      /* of another mutex: the first waiter's alone, as the next */
    struct waiter *last;            /* of the same mutex */
};

enum { ASLEEP, AWAKE };

/* What a waiter wishes that does not get the lock: to sleep on; the same, but it has stood aside
   for a RESERVED lock for long enough; to sleep no more. */
enum wish { STAY, LAPSED, LEAVE };

/*
 * Takes the lock for the waiter if it can have it, and says whether. If not, the waiter is in the
 * lot afterwards, or out of it where it wishes to leave. It may sleep on its word for as long as
 * that is ASLEEP; where *is_reserved is set, for RESERVE_NS at most.
 */
bool mutex_settle(struct waiter *w, enum wish wish, bool *is_reserved);

/* PyMutex_Unlock, but that it returns false where the mutex is not locked. */
bool mutex_unlock(PyMutex *m);

#endif
