/*
 * locks.h - locks, and threads that wait for them, on plain pthreads, so that the tests of locks
 * need no thread of the library.
 */
#ifndef LOCKS_H
#define LOCKS_H

#include "pthreads.h"
#include "pythread.h"

#include <signal.h>
#include <stdbool.h>
#ifndef _WIN32
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#define MINUTE 60000000LL

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

/* A thread that waits for a lock, and how its wait ended. */
struct waiter {
    PyThread_type_lock lock;
    long long microseconds;
    int intr_flag;
    pthread_t thread;
    atomic_long os_thread; /* its number on Linux, once it has begun */
    atomic_int status;     /* WAITING, and then a PyLockStatus */
    long long waited;      /* in ns */
};

enum { WAITING = -1 };

static inline void *wait_for_lock(void *arg)
{
    struct waiter *waiter = arg;
    long long begin = monotonic_ns();
#ifndef _WIN32
    atomic_store(&waiter->os_thread, syscall(SYS_gettid));
#endif
    PyLockStatus status =
        PyThread_acquire_lock_timed(waiter->lock, waiter->microseconds, waiter->intr_flag);
    waiter->waited = monotonic_ns() - begin;
    atomic_store(&waiter->status, (int)status);
    return NULL;
}

static inline void start_waiter(struct waiter *waiter, PyThread_type_lock lock,
                                long long microseconds, int intr_flag)
{
    *waiter = (struct waiter){.lock = lock, .microseconds = microseconds, .intr_flag = intr_flag};
    atomic_init(&waiter->status, WAITING);
    EQ(pthread_create(&waiter->thread, NULL, wait_for_lock, waiter), 0);
}

static inline bool is_waiting(struct waiter *waiter)
{
    return atomic_load(&waiter->status) == WAITING;
}

/* Waits until the waiter sleeps, or its wait has ended. */
static inline void wait_until_asleep(struct waiter *waiter)
{
#ifdef _WIN32
    (void)waiter;
    sleep_ms(20); /* Windows does not say. */
#else
    while (is_waiting(waiter) && !is_asleep(atomic_load(&waiter->os_thread))) {
        sleep_ms(1);
    }
#endif
}

static inline int end_of(struct waiter *waiter)
{
    EQ(pthread_join(waiter->thread, NULL), 0);
    return atomic_load(&waiter->status);
}

#ifndef _WIN32

static inline void ignore_signal(int signal)
{
    (void)signal;
}

static inline void handle_signal(void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigemptyset(&action.sa_mask);
    EQ(sigaction(SIGUSR1, &action, NULL), 0);
}

#endif

#endif
