/*
 * pylock_fork_test.c - the child of a fork goes on with the mutexes of its parent.
 */
#define _GNU_SOURCE
#include "mutexes.h"
#include "process.h"

/* What the threads of a case share. */
static PyMutex shared;
static long shared_count; /* guarded by shared */

static atomic_bool stop;

static void skip_where_children_start_no_threads(void)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    if (UNDER_TSAN) {
        test_skip("ThreadSanitizer does not support threads in the child of a fork");
    }
}

static void *lock_and_unlock(void *m)
{
    PyMutex_Lock(m);
    PyMutex_Unlock(m);
    return NULL;
}

static void unlock_and_use(void *m)
{
    PyMutex *mutex = m;
    struct waiter waiter;
    EQ(bits_of(mutex), LOCKED | PARKED); /* the waiter is the parent's alone */
    PyMutex_Unlock(mutex);
    EQ(bits_of(mutex), UNLOCKED);
    PyMutex_Lock(mutex);
    start_waiter(&waiter, mutex, -1, 0);
    wait_for_bits(mutex, LOCKED | PARKED);
    PyMutex_Unlock(mutex);
    EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
}

TEST(a_child_unlocks_a_mutex_that_the_parents_threads_wait_for)
{
    PyMutex m = PyMutex_STATIC_INIT;
    struct waiter waiter;
    skip_where_children_start_no_threads();
    PyMutex_Lock(&m);
    start_waiter(&waiter, &m, -1, 0);
    wait_for_bits(&m, LOCKED | PARKED);
    run_in_child(unlock_and_use, &m);
    PyMutex_Unlock(&m);
    EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
}

static void *contend_until_stopped(void *unused)
{
    while (!atomic_load(&stop)) {
        PyMutex_Lock(&shared);
        shared_count++;
        PyMutex_Unlock(&shared);
        if (pythread_mutex_lock_timed(&shared, 1, 0) == PY_LOCK_ACQUIRED) {
            PyMutex_Unlock(&shared);
        }
    }
    return unused;
}

/* The mutex may be held by a thread that only the parent has: then it is made anew, as in CPython.
   Others whose waiters stand in the same bucket, which this one may have been about to enter, are
   used as they are. */
static void use_after_fork(void *unused)
{
    pthread_t thread;
    PyMutex m = PyMutex_STATIC_INIT;
    (void)unused;
    shared = m;
    for (int i = 0; i < 2; i++) {
        PyMutex_Lock(&shared);
        EQ(pthread_create(&thread, NULL, lock_and_unlock, &shared), 0);
        wait_for_bits(&shared, LOCKED | PARKED);
        PyMutex_Unlock(&shared);
        EQ(pthread_join(thread, NULL), 0);
    }
    EQ(shared._bits, UNLOCKED);
}

TEST(a_fork_at_any_moment_leaves_the_child_a_parking_lot_that_works)
{
    pthread_t threads[4];
    skip_where_children_start_no_threads();
    for (int i = 0; i < 4; i++) {
        EQ(pthread_create(&threads[i], NULL, contend_until_stopped, NULL), 0);
    }
    for (int i = 0; i < 300; i++) {
        run_in_child(use_after_fork, NULL);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 4; i++) {
        EQ(pthread_join(threads[i], NULL), 0);
    }
    EQ(shared._bits, UNLOCKED);
}
