/*
 * lock_contention_test.c - many threads contend for a lock, wait, give up and are interrupted. A
 * lock that let two in shows as a wrong count, and a lost wake-up as a case that does not end.
 */
#define _GNU_SOURCE
#ifndef _WIN32
#include "hand_over.h"
#endif
#include "locks.h"

#include <sched.h>
#include <semaphore.h>

/* What the threads of a case share. */
static PyThread_type_lock shared_lock;
static long shared_count; /* guarded by shared_lock */

#ifdef _WIN32 /* It has no signals for threads. */

#define mask_signal(how)
#define run_threads_under_signals(count, run, flags) run_threads(count, run)

#else

static atomic_bool stop;

static void mask_signal(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    EQ(pthread_sigmask(how, &set, NULL), 0);
}

static void *send_signals(void *arg)
{
    sleep_exactly();
    while (!atomic_load(&stop)) {
        kill(getpid(), SIGUSR1);
        nanosleep(&(struct timespec){0, 20000}, NULL);
    }
    return arg;
}

/* run_threads with a storm of signals. Each goes to one of the threads that have unblocked it. */
static void run_threads_under_signals(int count, void *(*run)(void *), int flags)
{
    pthread_t sender;
    set_handler(SIGUSR1, ignore_signal, flags);
    mask_signal(SIG_BLOCK);
    EQ(pthread_create(&sender, NULL, send_signals, NULL), 0);
    run_threads(count, run);
    atomic_store(&stop, true);
    EQ(pthread_join(sender, NULL), 0);
}

#endif

/* Holds the lock, mostly for a moment, and sometimes so long that the others fall asleep or give
   up. */
static void hold(uint32_t *random)
{
    uint32_t kind = next_random(random) % 1024;
    if (kind < 2) {
        nanosleep(&(struct timespec){0, 1 + next_random(random) % 100000}, NULL);
    } else if (kind < 64) {
        idle(next_random(random) % 1000);
    }
}

static long acquires_each;
static atomic_long acquired, in_use, timed_out, interrupted;

static void *acquire_in_all_ways(void *arg)
{
    uint32_t random = (uint32_t)(intptr_t)arg * 7919 + 1;
    mask_signal(SIG_UNBLOCK);
    for (long i = 0; i < acquires_each; i++) {
        uint32_t way = next_random(&random) % 64;
        int intr_flag = (int)way % 2;
        PyLockStatus status;
        if (way < 24) {
            EQ(PyThread_acquire_lock(shared_lock, WAIT_LOCK), 1);
            status = PY_LOCK_ACQUIRED;
        } else if (way < 44) {
            status = PyThread_acquire_lock_timed(shared_lock, 0, intr_flag);
            NE(status, PY_LOCK_INTR);
        } else if (way < 54) {
            status = PyThread_acquire_lock_timed(shared_lock, -1, intr_flag);
            NE(status, PY_LOCK_FAILURE);
            CHECK(intr_flag != 0 || status != PY_LOCK_INTR);
        } else {
            long long microseconds = 1 + next_random(&random) % 100;
            status = PyThread_acquire_lock_timed(shared_lock, microseconds, intr_flag);
            CHECK(intr_flag != 0 || status != PY_LOCK_INTR);
        }
        if (status == PY_LOCK_ACQUIRED) {
            shared_count++;
            hold(&random);
            PyThread_release_lock(shared_lock);
        }
        atomic_fetch_add_explicit(status == PY_LOCK_ACQUIRED ? &acquired
                                  : status == PY_LOCK_INTR   ? &interrupted
                                  : way < 44                 ? &in_use
                                                             : &timed_out,
                                  1, memory_order_relaxed);
    }
    return NULL;
}

static void check_count_is_exact(int threads)
{
    shared_lock = new_lock();
    acquires_each = 2000000 / SLOWER / threads;
    run_threads_under_signals(threads, acquire_in_all_ways, 0);
    printf("%ld acquired, %ld in use, %ld timed out, %ld interrupted\n", atomic_load(&acquired),
           atomic_load(&in_use), atomic_load(&timed_out), atomic_load(&interrupted));
    EQ(shared_count, atomic_load(&acquired));
    CHECK(!is_held(shared_lock));
    PyThread_free_lock(shared_lock);
}

TEST(two_threads_in_all_ways_lose_no_count)
{
    check_count_is_exact(2);
}

TEST(eight_threads_in_all_ways_lose_no_count)
{
    check_count_is_exact(8);
}

TEST(many_threads_in_all_ways_lose_no_count)
{
    check_count_is_exact(64);
}

/* Half of the threads wait for ever, half give up. A thread that gives up must not swallow a
   wake-up that was meant for another. */
static void *wait_or_give_up(void *arg)
{
    uint32_t random = (uint32_t)(intptr_t)arg + 1;
    bool gives_up = (intptr_t)arg % 2 != 0;
    mask_signal(SIG_UNBLOCK);
    for (long i = 0; i < acquires_each; i++) {
        long long microseconds = gives_up ? 1 + (int)(next_random(&random) % 60) : -1;
        if (PyThread_acquire_lock_timed(shared_lock, microseconds, gives_up) == PY_LOCK_ACQUIRED) {
            idle(next_random(&random) % 2000);
            PyThread_release_lock(shared_lock);
        } else {
            CHECK(gives_up);
        }
        idle(next_random(&random) % 2000);
    }
    return NULL;
}

TEST(a_thread_that_gives_up_takes_no_wake_up_with_it)
{
    enum { THREADS = 12 };
    shared_lock = new_lock();
    acquires_each = 120000 / SLOWER / THREADS;
    run_threads_under_signals(THREADS, wait_or_give_up, 0);
    CHECK(!is_held(shared_lock));
    PyThread_free_lock(shared_lock);
}

/* Rounds, so that no later release makes up for a wake-up that was lost: in each, one thread waits
   for ever, one gives up, and main releases the lock at about that time. */
enum { GIVE_UP_ROUNDS = 3000 / SLOWER, GIVES_UP_AFTER_US = 300 };
static sem_t round_begins[2], round_ends;

static void *wait_in_rounds(void *arg)
{
    intptr_t gives_up = (intptr_t)arg;
    for (int i = 0; i < GIVE_UP_ROUNDS; i++) {
        while (sem_wait(&round_begins[gives_up]) != 0) {
        }
        long long microseconds = gives_up ? GIVES_UP_AFTER_US : -1;
        if (PyThread_acquire_lock_timed(shared_lock, microseconds, 0) == PY_LOCK_ACQUIRED) {
            PyThread_release_lock(shared_lock);
        }
        sem_post(&round_ends);
    }
    return NULL;
}

TEST(a_wake_up_reaches_a_thread_that_waits_beside_one_that_gives_up)
{
    pthread_t threads[2];
    uint32_t random = 1;
    shared_lock = new_lock();
    EQ(sem_init(&round_ends, 0, 0), 0);
    for (intptr_t i = 0; i < 2; i++) {
        EQ(sem_init(&round_begins[i], 0, 0), 0);
        EQ(pthread_create(&threads[i], NULL, wait_in_rounds, (void *)i), 0);
    }
    for (int i = 0; i < GIVE_UP_ROUNDS; i++) {
        EQ(PyThread_acquire_lock(shared_lock, WAIT_LOCK), 1);
        /* The one that gives up sleeps first, and is the first to be woken. */
        sem_post(&round_begins[1]);
        nanosleep(&(struct timespec){0, 100000}, NULL);
        sem_post(&round_begins[0]);
        nanosleep(&(struct timespec){0, 50000 + next_random(&random) % 200000}, NULL);
        PyThread_release_lock(shared_lock);
        for (int j = 0; j < 2; j++) {
            while (sem_wait(&round_ends) != 0) {
            }
        }
    }
    for (int i = 0; i < 2; i++) {
        EQ(pthread_join(threads[i], NULL), 0);
    }
    PyThread_free_lock(shared_lock);
}

/* No thread gives up, and only a release ends a sleep, so that a lost wake-up hangs the case. */
static void *wait_for_each_other(void *arg)
{
    uint32_t random = (uint32_t)(intptr_t)arg + 1;
    for (long i = 0; i < acquires_each; i++) {
        EQ(PyThread_acquire_lock(shared_lock, WAIT_LOCK), 1);
        shared_count++;
        hold(&random);
        PyThread_release_lock(shared_lock);
        idle(next_random(&random) % 100);
    }
    return NULL;
}

TEST(no_wake_up_is_lost)
{
    enum { THREADS = 16, ACQUIRES = 1000000 / SLOWER / THREADS };
    shared_lock = new_lock();
    acquires_each = ACQUIRES;
    run_threads(THREADS, wait_for_each_other);
    EQ(shared_count, ACQUIRES * THREADS);
    PyThread_free_lock(shared_lock);
}

enum { RING = 8, RING_ROUNDS = 5000 / SLOWER };
static PyThread_type_lock ring[RING];

static void *pass_on(void *arg)
{
    intptr_t i = (intptr_t)arg;
    for (int round = 0; round < RING_ROUNDS; round++) {
        EQ(PyThread_acquire_lock(ring[i], WAIT_LOCK), 1);
        shared_count++;
        PyThread_release_lock(ring[(i + 1) % RING]);
    }
    return NULL;
}

TEST(a_ring_of_threads_passes_its_turn_on)
{
    for (int i = 0; i < RING; i++) {
        ring[i] = i == 0 ? new_lock() : new_held_lock();
    }
    run_threads(RING, pass_on);
    EQ(shared_count, RING * RING_ROUNDS);
    for (int i = 0; i < RING; i++) {
        EQ(is_held(ring[i]), i != 0);
        PyThread_free_lock(ring[i]);
    }
}

/* Holds the lock for 50 us so that the others sleep. */
static void *wait_for_ever_under_signals(void *arg)
{
    mask_signal(SIG_UNBLOCK);
    for (long i = 0; i < acquires_each; i++) {
        EQ(PyThread_acquire_lock_timed(shared_lock, -1, i % 4 != 0), PY_LOCK_ACQUIRED);
        nanosleep(&(struct timespec){0, 50000}, NULL);
        PyThread_release_lock(shared_lock);
    }
    return arg;
}

TEST(restarting_handlers_end_no_wait_for_ever_among_many)
{
    enum { THREADS = 8 };
    shared_lock = new_lock();
    acquires_each = 4000 / SLOWER / THREADS;
    run_threads_under_signals(THREADS, wait_for_ever_under_signals, SA_RESTART);
    PyThread_free_lock(shared_lock);
}

#ifndef _WIN32

static void acquire_shared(void)
{
    EQ(PyThread_acquire_lock(shared_lock, WAIT_LOCK), 1);
}

static void release_shared(void)
{
    PyThread_release_lock(shared_lock);
}

TEST(a_thread_that_takes_a_lock_again_at_once_starves_no_waiter)
{
    shared_lock = new_lock();
    check_hand_over(acquire_shared, release_shared);
    PyThread_free_lock(shared_lock);
}

#endif

/* Main passes this lock to the next holder, who frees it while main may still be releasing it. */
static _Atomic(PyThread_type_lock) passed;

static void *acquire_and_free(void *arg)
{
    PyThread_type_lock lock;
    while ((lock = atomic_load(&passed)) != arg) {
        if (lock == NULL) {
            sched_yield();
            continue;
        }
        EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
        PyThread_free_lock(lock);
        atomic_store(&passed, NULL);
    }
    return NULL;
}

TEST(the_next_holder_may_free_a_lock)
{
    static char end;
    uint32_t random = 1;
    pthread_t thread;
    EQ(pthread_create(&thread, NULL, acquire_and_free, &end), 0);
    for (int i = 0; i < 20000 / SLOWER; i++) {
        PyThread_type_lock lock = new_held_lock();
        atomic_store(&passed, lock);
        idle(next_random(&random) % 3000);
        if (i % 100 == 0) {
            sleep_ms(1);
        }
        PyThread_release_lock(lock);
        while (atomic_load(&passed) != NULL) {
            sched_yield();
        }
    }
    atomic_store(&passed, (PyThread_type_lock)&end);
    EQ(pthread_join(thread, NULL), 0);
}
