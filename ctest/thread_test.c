/*
 * thread_test.c - threads as a C program sees them: start, join and detach. No case leaves anything
 * behind.
 */
#define _GNU_SOURCE
#include "dump_text.h"
#include "process.h"
#include "threads.h"

static atomic_int counter;

/* ------------------------------------------------------------------------ init, stack size */

TEST(init_is_idempotent)
{
    for (int i = 0; i < 1000; i++) {
        PyThread_init_thread();
    }
    join(start(count, &counter));
    PyThread_init_thread();
    join(start(count, &counter));
    EQ(atomic_load(&counter), 2);
}

TEST(stack_size_is_the_default_and_stays_so)
{
    const size_t sizes[] = {0, 1, 32768, 1 << 20, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        EQ(PyThread_set_stacksize(sizes[i]), -2);
        EQ(PyThread_get_stacksize(), 0);
    }
}

/* ------------------------------------------------------------------------ start and join */

static void store_answer(void *arg)
{
    *(int *)arg = 42;
}

TEST(join_waits_for_the_thread_and_sees_its_writes)
{
    int answer = 0;
    join(start(store_answer, &answer));
    EQ(answer, 42);
    check_nothing_is_left();
}

static sem_t door;

/* Opens the door once main waits for the thread behind it. */
static void *open_door_during_join(void *thread)
{
    check_dump_has("s for the end of thread %llu\n",
                   (unsigned long long)*(PyThread_handle_t *)thread);
    EQ(sem_post(&door), 0);
    return thread;
}

static void wait_at_door_and_count(void *arg)
{
    wait_at_door(&door);
    count(arg);
}

TEST(join_of_a_running_thread_waits_to_its_end)
{
    pthread_t opener;
    EQ(sem_init(&door, 0, 0), 0);
    PyThread_handle_t handle = start(wait_at_door_and_count, &counter);
    EQ(pthread_create(&opener, NULL, open_door_during_join, &handle), 0);
    join(handle);
    EQ(atomic_load(&counter), 1);
    EQ(pthread_join(opener, NULL), 0);
}

TEST(join_of_a_thread_that_has_ended_returns)
{
    pythread_stats stats;
    PyThread_handle_t handle = start(count, &counter);
    do {
        sched_yield();
        pythread_get_stats(&stats, sizeof stats);
    } while (stats.threads > 0);
    join(handle);
    check_nothing_is_left();
}

static void copy(void *both)
{
    void **arg = both;
    arg[1] = arg[0];
}

TEST(argument_is_passed_as_it_is)
{
    static void *seen;
    void *const values[] = {NULL, (void *)1, (void *)UINTPTR_MAX, &seen};
    void *arg[2];
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        arg[0] = values[i];
        arg[1] = NULL;
        join(start(copy, arg));
        EQ_PTR(arg[1], values[i]);
    }
}

TEST(threads_run_at_the_same_time)
{
    enum { THREADS = 64 };
    PyThread_handle_t handles[THREADS];
    pthread_mutex_lock(&gate);
    for (int i = 0; i < THREADS; i++) {
        handles[i] = start(wait_at_gate, &counter);
    }
    wait_for_count(&counter, THREADS);
    pythread_stats stats;
    pythread_get_stats(&stats, sizeof stats);
    EQ(stats.threads, THREADS);
    EQ(stats.handles, THREADS);
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < THREADS; i++) {
        join(handles[i]);
    }
    check_nothing_is_left();
}

TEST(statistics_fill_the_struct_of_an_older_and_of_a_newer_program)
{
    struct {
        pythread_stats known;
        size_t added;
    } newer;
    pythread_stats all, older;
    PyThread_handle_t handle = start(stay, NULL);
    EQ(pythread_get_stats(&all, sizeof all), 0);
    EQ(all.threads, 1);
    memset(&newer, 0xff, sizeof newer);
    EQ(pythread_get_stats(&newer.known, sizeof newer), 0);
    EQ(newer.known.handles, 1);
    EQ(newer.added, 0);
    memset(&older, 0xff, sizeof older);
    EQ(pythread_get_stats(&older, offsetof(pythread_stats, handles)), 0);
    EQ(older.threads, 1);
    EQ(older.handles, SIZE_MAX);
    EQ(pythread_get_stats(NULL, sizeof all), EINVAL);
    atomic_store(&leave, true);
    join(handle);
}

TEST(a_hundred_thousand_threads_in_sequence_take_no_memory)
{
    for (int i = 0; i < 10000; i++) {
        join(start(count, &counter));
    }
    long before = resident_kib();
    for (int i = 0; i < 100000; i++) {
        join(start(count, &counter));
    }
    EQ(atomic_load(&counter), 110000);
    LE(resident_kib() - before, RESIDENT_SLACK_KIB);
    check_nothing_is_left();
}

static void start_two(void *depth)
{
    count(&counter);
    if ((intptr_t)depth > 0) {
        PyThread_handle_t left = start(start_two, (void *)((intptr_t)depth - 1));
        PyThread_handle_t right = start(start_two, (void *)((intptr_t)depth - 1));
        join(left);
        join(right);
    }
}

TEST(threads_start_and_join_threads)
{
    start_two((void *)9);
    EQ(atomic_load(&counter), (1 << 10) - 1);
    check_nothing_is_left();
}

static PyThread_handle_t shared;

static void join_shared(void *arg)
{
    int error = PyThread_join_thread(shared);
    CHECK(error == 0 || error == EINVAL);
    atomic_fetch_add((atomic_int *)arg, error == 0);
}

TEST(every_thread_that_joins_a_running_thread_gets_its_end)
{
    enum { JOINERS = 16 };
    PyThread_handle_t joiners[JOINERS];
    atomic_int succeeded = 0;
    pthread_mutex_lock(&gate);
    shared = start(wait_at_gate, &counter);
    for (int i = 0; i < JOINERS; i++) {
        joiners[i] = start(join_shared, &succeeded);
    }
    check_dump_counts(JOINERS, "s for the end of thread %llu\n", (unsigned long long)shared);
    EQ(atomic_load(&succeeded), 0);
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < JOINERS; i++) {
        join(joiners[i]);
    }
    EQ(atomic_load(&succeeded), JOINERS);
    EQ(PyThread_join_thread(shared), EINVAL);
    check_nothing_is_left();
}

/* ------------------------------------------------------------------------ detach */

TEST(a_detached_thread_runs_and_leaves_nothing)
{
    for (int i = 0; i < 1000; i++) {
        NE(PyThread_start_new_thread(count, &counter), PYTHREAD_INVALID_THREAD_ID);
        EQ(PyThread_detach_thread(start(count, &counter)), 0);
    }
    wait_for_count(&counter, 2000);
    check_nothing_is_left();
}

static void detach_shared(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, PyThread_detach_thread(shared) == 0);
}

TEST(one_detach_of_many_succeeds)
{
    enum { THREADS = 8, ROUNDS = 500 };
    for (int round = 0; round < ROUNDS; round++) {
        PyThread_handle_t handles[THREADS];
        atomic_int succeeded = 0;
        shared = start(count, &counter);
        for (int i = 0; i < THREADS; i++) {
            handles[i] = start(detach_shared, &succeeded);
        }
        for (int i = 0; i < THREADS; i++) {
            join(handles[i]);
        }
        EQ(atomic_load(&succeeded), 1);
    }
    check_nothing_is_left();
}

static void detach_itself(void *arg)
{
    pthread_mutex_lock(&gate);
    *(int *)arg = PyThread_detach_thread(shared);
    pthread_mutex_unlock(&gate);
    count(&counter);
}

TEST(a_thread_may_detach_itself)
{
    int result = -1;
    pthread_mutex_lock(&gate);
    shared = start(detach_itself, &result);
    pthread_mutex_unlock(&gate);
    wait_for_count(&counter, 1);
    EQ(result, 0);
    EQ(PyThread_join_thread(shared), EINVAL);
    check_nothing_is_left();
}
