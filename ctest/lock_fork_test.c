/*
 * lock_fork_test.c - the child of a fork goes on with the locks of its parent.
 */
#define _GNU_SOURCE
#include "locks.h"
#include "process.h"

/* What the threads of a case share. */
static PyThread_type_lock shared_lock;
static long shared_count; /* guarded by shared_lock */

static atomic_bool stop;

static void *hold_and_hang(void *lock)
{
    EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
    for (;;) {
        pause();
    }
    return NULL;
}

static void use_lock_of_vanished_thread(void *lock)
{
    PyThread_type_lock old = lock;
    long long begin = monotonic_ns();
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 0);
    EQ(PyThread_acquire_lock_timed(lock, 100000, 0), PY_LOCK_FAILURE);
    EQ(PyThread_acquire_lock_timed(lock, 100000, 1), PY_LOCK_FAILURE);
    GE(monotonic_ns() - begin, 200000000);
    EQ(_PyThread_at_fork_reinit(&lock), 0);
    NE((intptr_t)lock, (intptr_t)old);
    EQ(PyThread_acquire_lock_timed(lock, 100000, 0), PY_LOCK_ACQUIRED);
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 0);
    PyThread_release_lock(lock);
    PyThread_free_lock(lock);
}

TEST(a_child_can_do_without_a_thread_that_holds_a_lock)
{
    PyThread_type_lock lock = new_lock();
    struct waiter waiter;
    pthread_t holder;
    EQ(pthread_create(&holder, NULL, hold_and_hang, lock), 0);
    while (!is_held(lock)) {
        sleep_ms(1);
    }
    run_in_child(use_lock_of_vanished_thread, lock);
    start_waiter(&waiter, lock, -1, 0);
    wait_until_asleep(&waiter);
    run_in_child(use_lock_of_vanished_thread, lock);
    CHECK(is_waiting(&waiter));
    PyThread_release_lock(lock);
    EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
}

static atomic_int started;

static void *contend_until_stopped(void *arg)
{
    uint32_t random = (uint32_t)(intptr_t)arg + 1;
    atomic_fetch_add(&started, 1);
    while (!atomic_load(&stop)) {
        if (PyThread_acquire_lock_timed(shared_lock, next_random(&random) % 3 == 0 ? 50 : -1, 0) ==
            PY_LOCK_ACQUIRED) {
            idle(next_random(&random) % 200);
            PyThread_release_lock(shared_lock);
        }
    }
    return NULL;
}

enum { CHILD_THREADS = 4, CHILD_ROUNDS = 500 / SLOWER };

static void *count_in_child(void *arg)
{
    (void)arg;
    for (int i = 0; i < CHILD_ROUNDS; i++) {
        EQ(PyThread_acquire_lock(shared_lock, WAIT_LOCK), 1);
        shared_count++;
        PyThread_release_lock(shared_lock);
    }
    return NULL;
}

/* The thread that forked holds the lock. The other threads may have been in any use of it. */
static void go_on_with_lock(void *arg)
{
    (void)arg;
    EQ(PyThread_acquire_lock(shared_lock, NOWAIT_LOCK), 0);
    PyThread_release_lock(shared_lock);
    EQ(PyThread_acquire_lock(shared_lock, NOWAIT_LOCK), 1);
    PyThread_release_lock(shared_lock);
    if (UNDER_TSAN) {
        count_in_child(NULL);
    } else {
        run_threads(CHILD_THREADS, count_in_child);
        EQ(shared_count, CHILD_THREADS * CHILD_ROUNDS);
    }
}

TEST(a_child_goes_on_with_a_lock_that_others_wait_for)
{
    enum { THREADS = 6, FORKS = 50 / SLOWER };
    pthread_t threads[THREADS];
    let_go_start();
    shared_lock = new_lock();
    for (intptr_t i = 0; i < THREADS; i++) {
        EQ(pthread_create(&threads[i], NULL, contend_until_stopped, (void *)i), 0);
    }
    /* Fork only after this: a sanitizer may hold a lock of its own while a thread starts. */
    while (atomic_load(&started) < THREADS) {
        sleep_ms(1);
    }
    for (int i = 0; i < FORKS; i++) {
        EQ(PyThread_acquire_lock(shared_lock, WAIT_LOCK), 1);
        idle((uint32_t)i * 1000);
        run_in_child(go_on_with_lock, NULL);
        PyThread_release_lock(shared_lock);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++) {
        EQ(pthread_join(threads[i], NULL), 0);
    }
    PyThread_free_lock(shared_lock);
}
