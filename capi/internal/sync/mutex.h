/*
 * mutex.h - how critical.c locks a PyMutex, and how a waiter and the parking lot deal with each
 * other. A waiter is an OS thread, or a goroutine, which waits by mutex.go.
 */
#ifndef MUTEX_H
#define MUTEX_H

#include "pylock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Code that was compiled with CPython's header or ours changes 0 to LOCKED and back by itself. */
enum { MUTEX_FREE = _Py_UNLOCKED, MUTEX_LOCKED = _Py_LOCKED, MUTEX_RESERVED = 2 };

/* Locks a mutex if its byte is `from`. Acquire: what the last holder did happens before what the
   caller does next. */
static inline bool mutex_take(PyMutex *m, uint8_t from)
{
    return __atomic_compare_exchange_n(&m->_bits, &from, MUTEX_LOCKED, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

/* A mutex is reserved at most once in this time, and a waiter that does not come for it loses it
   after this time. */
enum { MUTEX_RESERVE_NS = 200000 };

/* A waiter, in C memory of its own. The bucket's lock guards all but the first three. */
struct waiter {
    atomic_uint word; /* ASLEEP, or AWAKE once it was woken */
    PyMutex *mutex;
    uintptr_t goroutine;            /* what mutex.go knows it by; 0: an OS thread */
    unsigned epoch;                 /* of the bucket in which it stands; 0: it does not */
    struct waiter *previous, *next; /* those of the same mutex */
    struct waiter *next_first;      /* of another mutex: the first waiter's alone, as the next */
    struct waiter *last;            /* of the same mutex */
    struct waiter *rung_before;     /* a goroutine alone, while it is to be woken: see mutex_bell */
};

enum { ASLEEP, AWAKE };

/* What a waiter wishes that does not get the lock: to sleep on; the same, but it has stood aside
   for a RESERVED lock for long enough; to sleep no more. */
enum wish { STAY, LAPSED, LEAVE };

/* Locks a mutex if no thread has it. */
bool mutex_try(PyMutex *m);

/* Spins for the lock, for some microseconds at most, and reports whether it got the lock. */
bool mutex_spin(PyMutex *m);

/* Locks a mutex, in a sleep if need be. Fails as pythread_mutex_lock_timed does. */
PyLockStatus mutex_wait(PyMutex *m, int64_t deadline, int intr_flag);

/* How a waiter has settled. */
struct settled {
    bool has_lock;
    bool was_woken;   /* since it settled last */
    bool is_reserved; /* for another: it may sleep for MUTEX_RESERVE_NS at most */
};

/*
 * Takes the lock for the waiter if it can have it. If not, the waiter is in the lot afterwards, or
 * out of it where it wishes to leave. It may sleep for as long as its word is ASLEEP.
 */
struct settled mutex_settle(struct waiter *w, enum wish wish);

/* PyMutex_Unlock, but that it returns false where the mutex is not locked. *goroutine is the one
   that the caller has to wake; 0: none. */
bool mutex_unlock(PyMutex *m, uintptr_t *goroutine);

/*
 * C code wakes no goroutine by itself, as it does not enter Go. It rings: mutex_bell sleeps until
 * somebody rings, and returns those that are to be woken, in their order. The next is the one
 * behind, to be read before a goroutine is woken, which may take its waiter away.
 */
struct waiter *mutex_bell(void);

#endif
