/*
 * hand_over.h - a thread that releases a lock and takes it again at once does not keep a waiter
 * from the lock: the release hands the lock over to the waiter now and then.
 *
 * Without the hand-over the thread would be first in almost every round, because a thread that is
 * woken needs time to run. A thread of SCHED_BATCH does not run in place of its waker.
 */
#ifndef HAND_OVER_H
#define HAND_OVER_H

#include "pthreads.h"

#include <sched.h>
#include <stdbool.h>
#include <sys/syscall.h>

struct turns {
    void (*acquire)(void);
    void (*release)(void);
    atomic_long os_thread; /* of the waiter */
    atomic_int count;
    atomic_bool stop;
};

static void *take_turns(void *arg)
{
    struct turns *turns = arg;
    const struct sched_param batch = {.sched_priority = 0};
    EQ(sched_setscheduler(0, SCHED_BATCH, &batch), 0);
    atomic_store(&turns->os_thread, syscall(SYS_gettid));
    while (!atomic_load(&turns->stop)) {
        turns->acquire();
        atomic_fetch_add(&turns->count, 1);
        turns->release();
    }
    return arg;
}

static inline void check_hand_over(void (*acquire)(void), void (*release)(void))
{
    enum { HAND_OVERS = 30, MOST_ROUNDS = 400 };
    struct turns turns = {.acquire = acquire, .release = release};
    int waiter_was_first = 0;
    pthread_t waiter;
    acquire();
    EQ(pthread_create(&waiter, NULL, take_turns, &turns), 0);
    for (int round = 0; round < MOST_ROUNDS && waiter_was_first < HAND_OVERS; round++) {
        while (!is_asleep(atomic_load(&turns.os_thread))) {
            sleep_ms(1);
        }
        int before = atomic_load(&turns.count);
        release();
        acquire();
        waiter_was_first += atomic_load(&turns.count) > before;
    }
    atomic_store(&turns.stop, true);
    release();
    EQ(pthread_join(waiter, NULL), 0);
    EQ(waiter_was_first, HAND_OVERS);
}

#endif
