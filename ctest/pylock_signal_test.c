/*
 * pylock_signal_test.c - signals that come while a thread waits for a mutex: which of them end the
 * wait, and that they move no deadline.
 */
#define _GNU_SOURCE
#include "mutexes.h"

#include <limits.h>

TEST(a_handler_ends_an_interruptible_wait)
{
    static const struct {
        long long microseconds;
        int flags;
    } waits[] = {{-1, 0}, {LLONG_MIN, 0}, {MINUTE, 0}, {MINUTE, SA_RESTART}, {LLONG_MAX, 0}};
    PyMutex m = PyMutex_STATIC_INIT;
    PyMutex_Lock(&m);
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        struct waiter waiter;
        set_handler(SIGUSR1, ignore_signal, waits[i].flags);
        start_waiter(&waiter, &m, waits[i].microseconds, i % 2 == 0 ? 1 : -1);
        EQ(interrupt(&waiter), PY_LOCK_INTR);
        EQ(m._bits, LOCKED);
    }
}

TEST(a_restarting_handler_does_not_end_a_wait_for_ever)
{
    PyMutex m = PyMutex_STATIC_INIT;
    struct waiter waiter;
    PyMutex_Lock(&m);
    set_handler(SIGUSR1, ignore_signal, SA_RESTART);
    start_waiter(&waiter, &m, -1, 1);
    check_still_waiting_after_signals(&waiter);
    PyMutex_Unlock(&m);
    EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
}

TEST(no_handler_ends_an_uninterruptible_wait)
{
    static const int flags[] = {0, SA_RESTART};
    for (int i = 0; i < 4; i++) {
        PyMutex m = PyMutex_STATIC_INIT;
        struct waiter waiter;
        PyMutex_Lock(&m);
        set_handler(SIGUSR1, ignore_signal, flags[i % 2]);
        start_waiter(&waiter, &m, i < 2 ? -1 : MINUTE, 0);
        check_still_waiting_after_signals(&waiter);
        PyMutex_Unlock(&m);
        EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
    }
}

TEST(handlers_move_no_deadline)
{
    PyMutex m = PyMutex_STATIC_INIT;
    struct waiter waiter;
    PyMutex_Lock(&m);
    set_handler(SIGUSR1, ignore_signal, 0);
    start_waiter(&waiter, &m, 500000, 0);
    EQ(interrupt(&waiter), PY_LOCK_FAILURE);
    GE(waiter.waited, 500000000);
}
