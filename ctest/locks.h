/*
 * locks.h - locks, and threads that wait for them, on plain pthreads, so that the tests of locks
 * need no thread of the library.
 */
#ifndef LOCKS_H
#define LOCKS_H

#include "waiters.h"

#ifndef _WIN32
#include <sys/prctl.h>
#endif

/* Makes the kernel not round up the caller's sleeps, which would hide a deadline that is a little
   early. */
static inline void sleep_exactly(void)
{
#ifndef _WIN32
    prctl(PR_SET_TIMERSLACK, 1UL);
#endif
}

static inline void idle(uint32_t steps)
{
    for (volatile uint32_t i = 0; i < steps; i++) {
    }
}

static inline PyThread_type_lock new_lock(void)
{
    PyThread_type_lock lock = PyThread_allocate_lock();
    CHECK(lock != NULL);
    return lock;
}

static inline PyThread_type_lock new_held_lock(void)
{
    PyThread_type_lock lock = new_lock();
    EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
    return lock;
}

static inline bool is_held(PyThread_type_lock lock)
{
    if (PyThread_acquire_lock(lock, NOWAIT_LOCK) == 0) {
        return true;
    }
    PyThread_release_lock(lock);
    return false;
}

static inline void start_waiter(struct waiter *waiter, PyThread_type_lock lock,
                                long long microseconds, int intr_flag)
{
    *waiter = (struct waiter){.acquire = PyThread_acquire_lock_timed,
                              .lock = lock,
                              .microseconds = microseconds,
                              .intr_flag = intr_flag};
    begin_wait(waiter);
}

#endif
