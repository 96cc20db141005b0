/*
 * lock_signal_test.c - signals that come while a thread waits for a lock: which of them end the
 * wait, and that they move no deadline.
 */
#define _GNU_SOURCE
#include "locks.h"

#include <limits.h>
#include <sched.h>

TEST(a_handler_ends_an_interruptible_wait)
{
    static const struct {
        long long microseconds;
        int flags;
    } waits[] = {{-1, 0}, {LLONG_MIN, 0}, {MINUTE, 0}, {MINUTE, SA_RESTART}, {LLONG_MAX, 0}};
    PyThread_type_lock lock = new_held_lock();
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        struct waiter waiter;
        set_handler(SIGUSR1, ignore_signal, waits[i].flags);
        start_waiter(&waiter, lock, waits[i].microseconds, i % 2 == 0 ? 1 : -1);
        EQ(interrupt(&waiter), PY_LOCK_INTR);
        CHECK(is_held(lock));
    }
    PyThread_free_lock(lock);
}

TEST(a_restarting_handler_does_not_end_a_wait_for_ever)
{
    PyThread_type_lock lock = new_held_lock();
    struct waiter waiter;
    set_handler(SIGUSR1, ignore_signal, SA_RESTART);
    start_waiter(&waiter, lock, -1, 1);
    check_still_waiting_after_signals(&waiter);
    PyThread_release_lock(lock);
    EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
    PyThread_free_lock(lock);
}

TEST(no_handler_ends_an_uninterruptible_wait)
{
    static const int flags[] = {0, SA_RESTART};
    for (int i = 0; i < 4; i++) {
        PyThread_type_lock lock = new_held_lock();
        struct waiter waiter;
        set_handler(SIGUSR1, ignore_signal, flags[i % 2]);
        start_waiter(&waiter, lock, i < 2 ? -1 : MINUTE, 0);
        check_still_waiting_after_signals(&waiter);
        PyThread_release_lock(lock);
        EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
        PyThread_free_lock(lock);
    }
}

/* If each signal restarted the timeout, the wait would never end. */
TEST(handlers_move_no_deadline)
{
    static const int flags[] = {0, SA_RESTART};
    PyThread_type_lock lock = new_held_lock();
    for (int i = 0; i < 2; i++) {
        struct waiter waiter;
        set_handler(SIGUSR1, ignore_signal, flags[i]);
        start_waiter(&waiter, lock, 500000, 0);
        EQ(interrupt(&waiter), PY_LOCK_FAILURE);
        GE(waiter.waited, 500000000);
    }
    PyThread_free_lock(lock);
}

static atomic_int handler_state;

/* A handler that returns only when the lock is free. */
static void wait_for_release(int signal)
{
    (void)signal;
    int expected = 0;
    if (atomic_compare_exchange_strong(&handler_state, &expected, 1)) {
        while (atomic_load(&handler_state) == 1) {
            sched_yield();
        }
    }
}

TEST(success_beats_a_signal)
{
    static const long long waits[] = {-1, MINUTE};
    if (UNDER_TSAN) {
        test_skip("ThreadSanitizer runs handlers later");
    }
    set_handler(SIGUSR1, wait_for_release, 0);
    for (int i = 0; i < 20; i++) {
        PyThread_type_lock lock = new_held_lock();
        struct waiter waiter;
        atomic_store(&handler_state, 0);
        start_waiter(&waiter, lock, waits[i % 2], 1);
        wait_until_asleep(&waiter);
        pthread_kill(waiter.thread, SIGUSR1);
        while (atomic_load(&handler_state) == 0) {
            sched_yield();
        }
        PyThread_release_lock(lock);
        atomic_store(&handler_state, 2);
        EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
        CHECK(is_held(lock));
        PyThread_free_lock(lock);
    }
}
