/*
 * thread_exit_test.c - a thread ends itself, from nested calls and callbacks, by
 * PyThread_exit_thread or pthread_exit; or hangs for ever. No case leaves anything behind.
 */
#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>

static atomic_int counter;

static int exit_from(int depth)
{
    if (depth < 0) {
        return 0;
    }
    if (depth == 0) {
        PyThread_exit_thread();
    }
    return exit_from(depth - 1) + 1;
}

static void exit_nested(void *arg)
{
    count(arg);
    exit_from(100);
    count(arg);
}

TEST(exit_from_nested_calls_ends_the_thread)
{
    for (int i = 0; i < 10000; i++) {
        join(start(exit_nested, &counter));
    }
    EQ(atomic_load(&counter), 10000);
    check_nothing_is_left();
}

TEST(os_threads_are_used_again_after_exit)
{
    pythread_stats before, after;
    join(start(exit_nested, &counter));
    pythread_get_stats(&before, sizeof before);
    for (int i = 0; i < 10000; i++) {
        NE(PyThread_start_new_thread(exit_nested, &counter), PYTHREAD_INVALID_THREAD_ID);
        wait_for_count(&counter, i + 2);
    }
    check_nothing_is_left();
    pythread_get_stats(&after, sizeof after);
    LE(after.os_threads - before.os_threads, 64);
}

static int exit_in_comparison(const void *left, const void *right)
{
    (void)left;
    (void)right;
    PyThread_exit_thread();
}

static void exit_in_callback(void *arg)
{
    int values[] = {2, 1};
    count(arg);
    qsort(values, 2, sizeof *values, exit_in_comparison);
    count(arg);
}

TEST(exit_from_a_callback_ends_the_thread)
{
    for (int i = 0; i < 1000; i++) {
        join(start(exit_in_callback, &counter));
    }
    EQ(atomic_load(&counter), 1000);
    check_nothing_is_left();
}

#ifndef _WIN32
static void *exit_foreign(void *arg)
{
    count(arg);
    PyThread_exit_thread();
    return arg;
}

TEST(exit_from_a_pthread_is_pthread_exit)
{
    pthread_t thread;
    void *result = &thread;
    EQ(pthread_create(&thread, NULL, exit_foreign, &counter), 0);
    EQ(pthread_join(thread, &result), 0);
    EQ_PTR(result, NULL);
    EQ(atomic_load(&counter), 1);
}
#endif

static void hang(void *arg)
{
    count(arg);
    PyThread_hang_thread();
}

TEST(hang_parks_the_thread_and_no_other)
{
    PyThread_handle_t handle = start(hang, &counter);
    wait_for_count(&counter, 1);
    for (int i = 0; i < 100; i++) {
        join(start(nothing, NULL));
    }
    pythread_stats stats;
    pythread_get_stats(&stats, sizeof stats);
    EQ(stats.threads, 1);
    EQ(PyThread_detach_thread(handle), 0);
}

#ifndef _WIN32
static void call_pthread_exit(void *arg)
{
    count(arg);
    pthread_exit(NULL);
}

TEST(pthread_exit_in_a_thread_releases_its_joiners)
{
    for (int i = 0; i < 20; i++) {
        join(start(call_pthread_exit, &counter));
        join(start(count, &counter));
    }
    EQ(atomic_load(&counter), 40);
    check_nothing_is_left();
}
#endif
