/*
 * pylock_contention_test.c - many threads contend for a mutex, wait, give up and are interrupted. A
 * mutex that let two in shows as a wrong count, and a lost wake-up as a case that does not end.
 */
#define _GNU_SOURCE
#ifndef _WIN32
#include "hand_over.h"
#endif
#include "mutexes.h"

#include <sched.h>

#ifndef _WIN32

/* What the threads of a case share. */
static PyMutex shared;
static long shared_count; /* guarded by shared */

static atomic_bool stop;

static void *send_signals(void *threads)
{
    uint32_t random = 1;
    while (!atomic_load(&stop)) {
        pthread_kill(((pthread_t *)threads)[next_random(&random) % 8], SIGUSR1);
        sched_yield();
    }
    return NULL;
}

static atomic_long acquired;
static atomic_int finished;

/* Every way to lock, with timeouts about as long as the mutex is held. */
static void *lock_in_all_ways(void *number)
{
    uint32_t random = (uint32_t)(intptr_t)number + 1;
    long mine = 0;
    for (int i = 0; i < 20000 / SLOWER; i++) {
        PyLockStatus status = PY_LOCK_ACQUIRED;
        switch (next_random(&random) % 8) {
        case 0:
            status = try_lock(&shared);
            break;
        case 1:
            status = pythread_mutex_lock_timed(&shared, 1 + next_random(&random) % 100, 0);
            break;
        case 2:
            status = pythread_mutex_lock_timed(&shared, 1 + next_random(&random) % 100, 1);
            break;
        case 3:
            status = pythread_mutex_lock_timed(&shared, -1, 1);
            break;
        default:
            PyMutex_Lock(&shared);
        }
        if (status == PY_LOCK_ACQUIRED) {
            mine++;
            shared_count++;
            if (next_random(&random) % 1024 == 0) {
                sched_yield();
            }
            PyMutex_Unlock(&shared);
        }
    }
    atomic_fetch_add(&acquired, mine);
    atomic_fetch_add(&finished, 1);
    return NULL;
}

static void check_all_ways_under_signals(int count, int flags)
{
    pthread_t threads[64], sender;
    set_handler(SIGUSR1, ignore_signal, flags);
    for (intptr_t i = 0; i < count; i++) {
        EQ(pthread_create(&threads[i], NULL, lock_in_all_ways, (void *)i), 0);
    }
    EQ(pthread_create(&sender, NULL, send_signals, threads), 0);
    /* A thread that gets signals is joined when none is sent any more. */
    while (atomic_load(&finished) < count) {
        sleep_ms(1);
    }
    atomic_store(&stop, true);
    EQ(pthread_join(sender, NULL), 0);
    for (int i = 0; i < count; i++) {
        EQ(pthread_join(threads[i], NULL), 0);
    }
    EQ(shared_count, atomic_load(&acquired));
    EQ(shared._bits, UNLOCKED);
}

TEST(eight_threads_in_all_ways_under_signals_lose_no_count)
{
    check_all_ways_under_signals(8, 0);
}

TEST(many_threads_in_all_ways_under_restarting_signals_lose_no_count)
{
    check_all_ways_under_signals(64, SA_RESTART);
}

#endif

/* Times out at the instant of the unlock, give or take some microseconds. */
TEST(a_timeout_at_the_moment_of_the_unlock_loses_no_mutex)
{
    int outcomes[3] = {0};
    for (int i = 0; i < 2000 / SLOWER; i++) {
        struct waiter waiter;
        PyMutex m = PyMutex_STATIC_INIT;
        PyMutex_Lock(&m);
        long long begin = monotonic_ns();
        start_waiter(&waiter, &m, 50 + i % 100, 0);
        while (monotonic_ns() - begin < 100000) {
        }
        PyMutex_Unlock(&m);
        PyLockStatus status = (PyLockStatus)end_of(&waiter);
        outcomes[status]++;
        EQ(m._bits, status == PY_LOCK_ACQUIRED ? LOCKED : UNLOCKED);
    }
    printf("%d timed out, %d had the mutex\n", outcomes[PY_LOCK_FAILURE],
           outcomes[PY_LOCK_ACQUIRED]);
}

static PyMutex ring[32];

static void *pass_on(void *number)
{
    intptr_t mine = (intptr_t)number;
    for (int i = 0; i < 500 / SLOWER; i++) {
        PyMutex_Lock(&ring[mine]);
        PyMutex_Unlock(&ring[(mine + 1) % 32]);
    }
    return NULL;
}

TEST(a_ring_of_threads_passes_its_turn_on)
{
    for (int i = 1; i < 32; i++) {
        PyMutex_Lock(&ring[i]);
    }
    run_threads(32, pass_on);
    for (int i = 0; i < 32; i++) {
        EQ(PyMutex_IsLocked(&ring[i]), i != 0);
    }
}

#ifndef _WIN32

static void lock_shared(void)
{
    PyMutex_Lock(&shared);
}

static void unlock_shared(void)
{
    PyMutex_Unlock(&shared);
}

TEST(a_thread_that_takes_a_mutex_again_at_once_starves_no_waiter)
{
    check_hand_over(lock_shared, unlock_shared);
}

#endif
