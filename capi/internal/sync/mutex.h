/*
 * mutex.h - the functions of pylock.c by which critical.c and mutex.go lock a PyMutex. A waiter is
 * an OS thread, or a goroutine that waits in mutex.go.
 */
#ifndef MUTEX_H
#define MUTEX_H

#include "pylock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The values of the byte that callers use; pylock.c explains them. The first two may not change:
   CPython's header and ours have inline functions that use them. */
enum { MUTEX_FREE = _Py_UNLOCKED, MUTEX_LOCKED = _Py_LOCKED, MUTEX_RESERVED = 2 };

/* Locks a mutex if its byte is `from`, and reports whether it was. Acquire: what the last holder
   did happens before what the caller does next. */
static inline bool mutex_take(PyMutex *m, uint8_t from)
{
    return __atomic_compare_exchange_n(&m->_bits, &from, MUTEX_LOCKED, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

/* A mutex is reserved at most once in this time. If the waiter does not take the mutex within this
   time, other threads may take it. */
enum { MUTEX_RESERVE_NS = 200000 };

/* A waiter, on the stack of its OS thread, or in C memory that mutex.go allocates. */
struct waiter {
    /* ASLEEP, or AWAKE after an unlock has woken the waiter. Written only under the bucket's lock.
       The waiter's OS thread sleeps on it. */
    atomic_uint word;
    PyMutex *mutex;
    uintptr_t goroutine; /* the number by which mutex.go finds the goroutine; 0: an OS thread */
    unsigned epoch;      /* of the process in whose bucket the waiter is; 0: in none */

    /* The bucket's lock guards these. */
    struct waiter *previous, *next; /* neighbours among the waiters for the same mutex */
    struct waiter *next_first;      /* of a first waiter: the first waiter for another mutex */
    struct waiter *last;            /* of a first waiter: the last waiter for the same mutex */

    /* Links goroutines that C code has to wake: see mutex_bell. */
    struct waiter *next_to_wake;
};

enum { ASLEEP, AWAKE };

/* What a waiter does if it does not get the mutex. */
enum wish {
    STAY,   /* sleeps until it is woken, and leaves a RESERVED mutex to the waiter that is awake */
    LAPSED, /* has left a RESERVED mutex to another for long enough, and takes it; else as STAY */
    LEAVE   /* ends its wait */
};

/* Locks a mutex if no thread holds it, and reports whether it did. */
bool mutex_try(PyMutex *m);

/* Spins for a mutex, for some microseconds at most, and reports whether it has locked the mutex. */
bool mutex_spin(PyMutex *m);

/* Locks a mutex, and sleeps until the mutex is free. Returns the same as
   pythread_mutex_lock_timed. */
PyLockStatus mutex_wait(PyMutex *m, int64_t deadline, int intr_flag);

/* What mutex_settle has done. */
struct settled {
    bool has_lock;    /* the waiter has the mutex, and its wait is over */
    bool was_woken;   /* an unlock has woken the waiter since it settled last */
    bool is_reserved; /* for another waiter; this one must settle again after MUTEX_RESERVE_NS */
};

/*
 * Takes the mutex for the waiter if it is free, or RESERVED and the waiter may take it. Otherwise
 * puts the waiter into the parking lot, or removes it if its wish is LEAVE. A waiter in the parking
 * lot may sleep while its word is ASLEEP.
 */
struct settled mutex_settle(struct waiter *w, enum wish wish);

/* Unlocks a mutex. Sets *goroutine to the number of the goroutine that the caller must wake, or to
   0. Returns false if the mutex is not locked. */
bool mutex_unlock(PyMutex *m, uintptr_t *goroutine);

/*
 * Sleeps until PyMutex_Unlock has goroutines to wake. C code cannot wake a goroutine itself,
 * because it does not enter Go. So a goroutine calls this, and wakes the others.
 *
 * Returns a list of their waiters in the order of the unlocks, linked by next_to_wake. The caller
 * reads this link before it wakes a goroutine, which may use its waiter again at once.
 */
struct waiter *mutex_bell(void);

#endif
