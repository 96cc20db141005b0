/* waiters.h - threads that wait for a lock or a mutex, on plain pthreads. For tests. */
#ifndef WAITERS_H
#define WAITERS_H

#include "pthreads.h"
#include "pythread.h"

#include <stdbool.h>
#ifndef _WIN32
#include "signals.h"

#include <sys/syscall.h>
#endif

#define MINUTE 60000000LL

/* A thread that waits for a lock or a mutex, and how its wait ended. */
struct waiter {
    PyLockStatus (*acquire)(void *lock, long long microseconds, int intr_flag);
    void *lock;
    long long microseconds;
    int intr_flag;
    pthread_t thread;
    atomic_long os_thread; /* its number on Linux, once it has begun */
    atomic_int status;     /* WAITING, and then a PyLockStatus */
    long long waited;      /* in ns */
};

enum { WAITING = -1 };

static inline void *run_waiter(void *arg)
{
    struct waiter *waiter = arg;
    long long begin = monotonic_ns();
#ifndef _WIN32
    atomic_store(&waiter->os_thread, syscall(SYS_gettid));
#endif
    PyLockStatus status = waiter->acquire(waiter->lock, waiter->microseconds, waiter->intr_flag);
    waiter->waited = monotonic_ns() - begin;
    atomic_store(&waiter->status, (int)status);
    return NULL;
}

/* The caller has set the first four fields. */
static inline void begin_wait(struct waiter *waiter)
{
    atomic_init(&waiter->status, WAITING);
    EQ(pthread_create(&waiter->thread, NULL, run_waiter, waiter), 0);
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

/* A signal that comes before the wait does not end it, so signals are sent until the wait has
   ended. */
static inline int interrupt(struct waiter *waiter)
{
    while (is_waiting(waiter)) {
        pthread_kill(waiter->thread, SIGUSR1);
        sleep_ms(1);
    }
    return end_of(waiter);
}

static inline void check_still_waiting_after_signals(struct waiter *waiter)
{
    for (int i = 0; i < 100; i++) {
        pthread_kill(waiter->thread, SIGUSR1);
        sleep_ms(1);
        CHECK(is_waiting(waiter));
    }
}

#endif

#endif
