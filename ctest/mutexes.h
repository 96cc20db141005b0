/*
 * mutexes.h - mutexes, and threads that wait for them, on plain pthreads, so that the tests of
 * mutexes need no thread of the library.
 */
#ifndef MUTEXES_H
#define MUTEXES_H

#include "pthreads.h"
#include "pylock.h"

#include <signal.h>
#include <stdbool.h>

#define MINUTE 60000000LL

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

/* A thread that waits for a mutex, and how its wait ended. */
struct waiter {
    PyMutex *mutex;
    long long microseconds;
    int intr_flag;
    pthread_t thread;
    atomic_int status; /* WAITING, and then a PyLockStatus */
    long long waited;  /* in ns */
};

enum { WAITING = -1 };

static inline void *wait_for_mutex(void *arg)
{
    struct waiter *waiter = arg;
    long long begin = monotonic_ns();
    PyLockStatus status =
        pythread_mutex_lock_timed(waiter->mutex, waiter->microseconds, waiter->intr_flag);
    waiter->waited = monotonic_ns() - begin;
    atomic_store(&waiter->status, (int)status);
    return NULL;
}

static inline void start_waiter(struct waiter *waiter, PyMutex *mutex, long long microseconds,
                                int intr_flag)
{
    *waiter = (struct waiter){.mutex = mutex, .microseconds = microseconds, .intr_flag = intr_flag};
    atomic_init(&waiter->status, WAITING);
    EQ(pthread_create(&waiter->thread, NULL, wait_for_mutex, waiter), 0);
}

static inline bool is_waiting(struct waiter *waiter)
{
    return atomic_load(&waiter->status) == WAITING;
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

static inline void handle_signal(int flags)
{
    struct sigaction action = {.sa_handler = ignore_signal, .sa_flags = flags};
    sigemptyset(&action.sa_mask);
    EQ(sigaction(SIGUSR1, &action, NULL), 0);
}

#endif

#endif
