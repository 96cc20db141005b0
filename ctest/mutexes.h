/*
 * mutexes.h - mutexes, and threads that wait for them, on plain pthreads, so that the tests of
 * mutexes need no thread of the library.
 */
#ifndef MUTEXES_H
#define MUTEXES_H

#include "pylock.h"
#include "waiters.h"

/* The byte's values. */
enum { UNLOCKED = 0, LOCKED = 1, PARKED = 2 };

static inline uint8_t bits_of(PyMutex *m)
{
    return __atomic_load_n(&m->_bits, __ATOMIC_RELAXED);
}

/* Waits until the byte has this value. */
static inline void wait_for_bits(PyMutex *m, uint8_t expected)
{
    for (int i = 0; i < 20000 && bits_of(m) != expected; i++) {
        sleep_ms(1);
    }
    EQ(bits_of(m), expected);
}

static inline PyLockStatus try_lock(PyMutex *m)
{
    return pythread_mutex_lock_timed(m, 0, 0);
}

static inline PyLockStatus lock_timed(void *mutex, long long microseconds, int intr_flag)
{
    return pythread_mutex_lock_timed(mutex, microseconds, intr_flag);
}

static inline void start_waiter(struct waiter *waiter, PyMutex *mutex, long long microseconds,
                                int intr_flag)
{
    *waiter = (struct waiter){
        .acquire = lock_timed, .lock = mutex, .microseconds = microseconds, .intr_flag = intr_flag};
    begin_wait(waiter);
}

#endif
