/*
 * thread_handle_test.c - a join or a detach with a bad handle, and a join that would wait for ever,
 * get an error value at once.
 */
#define _GNU_SOURCE
#include "threads.h"

#include <limits.h>

static atomic_int counter;

static PyThread_handle_t shared;

TEST(a_null_function_or_place_is_refused)
{
    PyThread_ident_t ident = 11;
    PyThread_handle_t handle = 22;
    EQ(PyThread_start_new_thread(NULL, &ident), PYTHREAD_INVALID_THREAD_ID);
    EQ(PyThread_start_joinable_thread(NULL, NULL, &ident, &handle), -1);
    EQ(PyThread_start_joinable_thread(nothing, NULL, NULL, &handle), -1);
    EQ(PyThread_start_joinable_thread(nothing, NULL, &ident, NULL), -1);
    EQ(ident, 11);
    EQ(handle, 22);
    check_nothing_is_left();
}

TEST(a_spent_handle_is_refused_at_once)
{
    PyThread_handle_t joined = start(nothing, NULL), detached = start(nothing, NULL);
    join(joined);
    EQ(PyThread_detach_thread(detached), 0);
    for (int i = 0; i < 3; i++) {
        EQ(PyThread_join_thread(joined), EINVAL);
        EQ(PyThread_detach_thread(joined), EINVAL);
        EQ(PyThread_join_thread(detached), EINVAL);
        EQ(PyThread_detach_thread(detached), EINVAL);
        /* Also after other threads have taken the place of these. */
        join(start(nothing, NULL));
    }
}

TEST(a_number_that_never_was_a_handle_is_refused_at_once)
{
    PyThread_handle_t real = start(nothing, NULL);
    const PyThread_handle_t unknown[] = {0,
                                         INT_MAX,
                                         UINTPTR_MAX,
                                         real + 1,
                                         real + 4096,
                                         real ^ ((uintptr_t)1 << 62),
                                         (uintptr_t)pthread_self()};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        if (unknown[i] != real) {
            EQ(PyThread_join_thread(unknown[i]), ESRCH);
            EQ(PyThread_detach_thread(unknown[i]), ESRCH);
        }
    }
    join(real);
}

TEST(a_million_random_handles_are_refused)
{
    enum { THREADS = 300 };
    PyThread_handle_t live[THREADS];
    uint64_t random = 88172645463325252ULL;
    pthread_mutex_lock(&gate);
    for (int i = 0; i < THREADS; i++) {
        live[i] = start(wait_at_gate, &counter);
    }
    for (int i = 0; i < 1000000; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        /* Numbers of every size, so that small ones occur. Those that are live handles are left
           out. */
        PyThread_handle_t handle = random >> (random & 63);
        for (int j = 0; j < THREADS; j++) {
            handle = handle == live[j] ? 0 : handle;
        }
        int error = i % 2 == 0 ? PyThread_join_thread(handle) : PyThread_detach_thread(handle);
        CHECK(error == ESRCH || error == EINVAL);
    }
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < THREADS; i++) {
        join(live[i]);
    }
    check_nothing_is_left();
}

static void join_itself(void *arg)
{
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    *(int *)arg = PyThread_join_thread(shared);
}

TEST(a_thread_that_joins_itself_gets_edeadlk)
{
    int result = 0;
    pthread_mutex_lock(&gate);
    shared = start(join_itself, &result);
    pthread_mutex_unlock(&gate);
    join(shared);
    EQ(result, EDEADLK);
    check_nothing_is_left();
}

enum { RING = 5 };
static PyThread_handle_t ring[RING];
static atomic_int refused;

static void join_next(void *arg)
{
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    int error = PyThread_join_thread(ring[((intptr_t)arg + 1) % RING]);
    CHECK(error == 0 || error == EDEADLK || error == EINVAL);
    atomic_fetch_add(&refused, error == EDEADLK);
}

TEST(threads_that_join_each_other_in_a_ring_do_not_hang)
{
    for (int round = 0; round < 200; round++) {
        int joined = 0;
        atomic_store(&refused, 0);
        pthread_mutex_lock(&gate);
        for (int i = 0; i < RING; i++) {
            ring[i] = start(join_next, (void *)(intptr_t)i);
        }
        pthread_mutex_unlock(&gate);
        for (int i = 0; i < RING; i++) {
            int error = PyThread_join_thread(ring[i]);
            CHECK(error == 0 || error == EINVAL);
            joined += error == 0;
        }
        GE(atomic_load(&refused), 1);
        GE(joined, 1);
    }
    check_nothing_is_left();
}

static atomic_int succeeded;

static void race_for_shared(void *arg)
{
    int error =
        (intptr_t)arg % 2 == 0 ? PyThread_join_thread(shared) : PyThread_detach_thread(shared);
    CHECK(error == 0 || error == EINVAL);
    atomic_fetch_add(&succeeded, error == 0);
}

TEST(join_and_detach_of_one_handle_from_many_threads_lose_nothing)
{
    enum { THREADS = 8, ROUNDS = 1000 };
    for (int round = 0; round < ROUNDS; round++) {
        PyThread_handle_t handles[THREADS];
        atomic_store(&succeeded, 0);
        shared = start(round % 2 == 0 ? nothing : wait_at_gate, &counter);
        for (int i = 0; i < THREADS; i++) {
            handles[i] = start(race_for_shared, (void *)(intptr_t)i);
        }
        for (int i = 0; i < THREADS; i++) {
            join(handles[i]);
        }
        GE(atomic_load(&succeeded), 1);
        EQ(PyThread_join_thread(shared), EINVAL);
    }
    check_nothing_is_left();
}
