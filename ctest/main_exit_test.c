/*
 * main_exit_test.c - main may end before its threads, by PyThread_exit_thread or pthread_exit: the
 * process ends with the last thread. The checks of a case stand in an atexit handler.
 */
#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>

static atomic_int counter;

static int expected;

/* Runs when the process ends, and checks that all threads have counted by then. */
static void check_counter(void)
{
    EQ(atomic_load(&counter), expected);
}

/* Sleeps and starts the next thread, which does the same, depth times. */
static void sleep_and_start(void *depth)
{
    intptr_t left = (intptr_t)depth;
    sleep_ms(50);
    count(&counter);
    if (left > 0) {
        NE(PyThread_start_new_thread(sleep_and_start, (void *)(left - 1)),
           PYTHREAD_INVALID_THREAD_ID);
    }
}

static void *sleep_and_start_on_pthread(void *arg)
{
    sleep_and_start(arg);
    return NULL;
}

static void *sleep_and_count_on_pthread(void *arg)
{
    sleep_ms(300);
    count(arg);
    return NULL;
}

TEST(main_may_exit_alone)
{
    expected = 0;
    atexit(check_counter);
    PyThread_exit_thread();
}

TEST(main_may_exit_after_its_threads)
{
    expected = 100;
    atexit(check_counter);
    for (int i = 0; i < expected; i++) {
        join(start(count, &counter));
    }
    PyThread_exit_thread();
}

TEST(main_may_exit_before_its_threads)
{
    expected = 30;
    atexit(check_counter);
    for (int i = 0; i < 10; i++) {
        start(sleep_and_start, (void *)2);
    }
    PyThread_exit_thread();
}

TEST(main_may_exit_before_its_threads_on_fresh_os_threads)
{
    expected = 30;
    atexit(check_counter);
    use_fresh_os_threads(1);
    for (int i = 0; i < 10; i++) {
        start(sleep_and_start, (void *)2);
    }
    PyThread_exit_thread();
}

TEST(main_may_exit_before_its_pthreads)
{
    pthread_t thread;
    expected = 10;
    atexit(check_counter);
    for (int i = 0; i < expected; i++) {
        EQ(pthread_create(&thread, NULL, sleep_and_count_on_pthread, &counter), 0);
    }
    PyThread_exit_thread();
}

TEST(main_may_exit_before_pthreads_when_threads_have_been)
{
    pthread_t thread;
    expected = 11;
    atexit(check_counter);
    join(start(count, &counter));
    for (int i = 1; i < expected; i++) {
        EQ(pthread_create(&thread, NULL, sleep_and_count_on_pthread, &counter), 0);
    }
    PyThread_exit_thread();
}

TEST(main_may_exit_before_pthreads_that_start_the_first_thread)
{
    pthread_t thread;
    expected = 3;
    atexit(check_counter);
    EQ(pthread_create(&thread, NULL, sleep_and_start_on_pthread, (void *)2), 0);
    PyThread_exit_thread();
}

/* Main ends by pthread_exit, from inside a call, while there is a thread on every kind of OS
   thread. */
static void *count_and_pthread_exit(void *arg)
{
    sleep_ms(200);
    count(arg);
    pthread_exit(NULL);
}

static void count_and_exit(void *arg)
{
    count_and_pthread_exit(arg);
}

static int exit_in_comparison(const void *left, const void *right)
{
    (void)left;
    (void)right;
    pthread_exit(NULL);
}

TEST(main_may_end_by_pthread_exit_in_a_callback)
{
    int values[] = {2, 1};
    pthread_t thread;
    expected = 4;
    atexit(check_counter);
    start(count_and_exit, &counter);
    start(sleep_and_start, (void *)0);
    EQ(pthread_create(&thread, NULL, count_and_pthread_exit, &counter), 0);
    use_fresh_os_threads(1);
    start(count_and_exit, &counter);
    qsort(values, 2, sizeof *values, exit_in_comparison);
}
