/*
 * main_exit_test.c - main may end before its threads, by PyThread_exit_thread or pthread_exit: the
 * process ends with the last thread. A case does its checks in an atexit handler.
 */
#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>

static atomic_int counter;

static int expected;

/* Set by a destructor of main. */
static atomic_bool main_ends;

static void note_mains_end(void *unused)
{
    (void)unused;
    atomic_store(&main_ends, true);
}

static void wait_for_mains_end(void)
{
    while (!atomic_load(&main_ends)) {
        sleep_ms(1);
    }
}

/* Runs when the process ends, and checks that all threads have counted by then. */
static void check_counter(void)
{
    EQ(atomic_load(&counter), expected);
}

/* Main calls this first, with the number of threads that count after main's end. */
static void expect(int threads)
{
    pthread_key_t key;
    expected = threads;
    EQ(atexit(check_counter), 0);
    EQ(pthread_key_create(&key, note_mains_end), 0);
    EQ(pthread_setspecific(key, &main_ends), 0);
}

/* Waits for main's end and starts the next thread, which does the same, depth times. */
static void wait_and_start(void *depth)
{
    intptr_t left = (intptr_t)depth;
    wait_for_mains_end();
    count(&counter);
    if (left > 0) {
        NE(PyThread_start_new_thread(wait_and_start, (void *)(left - 1)),
           PYTHREAD_INVALID_THREAD_ID);
    }
}

static void *wait_and_start_on_pthread(void *arg)
{
    wait_and_start(arg);
    return NULL;
}

static void *wait_and_count_on_pthread(void *arg)
{
    wait_for_mains_end();
    count(arg);
    return NULL;
}

TEST(main_may_exit_alone)
{
    expect(0);
    PyThread_exit_thread();
}

TEST(main_may_exit_after_its_threads)
{
    expect(100);
    for (int i = 0; i < expected; i++) {
        join(start(count, &counter));
    }
    PyThread_exit_thread();
}

TEST(main_may_exit_before_its_threads)
{
    expect(30);
    for (int i = 0; i < 10; i++) {
        start(wait_and_start, (void *)2);
    }
    PyThread_exit_thread();
}

TEST(main_may_exit_before_its_threads_on_own_os_threads)
{
    expect(30);
    use_own_os_threads(1);
    for (int i = 0; i < 10; i++) {
        start(wait_and_start, (void *)2);
    }
    PyThread_exit_thread();
}

TEST(main_may_exit_before_its_pthreads)
{
    pthread_t thread;
    expect(10);
    for (int i = 0; i < expected; i++) {
        EQ(pthread_create(&thread, NULL, wait_and_count_on_pthread, &counter), 0);
    }
    PyThread_exit_thread();
}

TEST(main_may_exit_before_pthreads_when_threads_have_been)
{
    pthread_t thread;
    expect(11);
    join(start(count, &counter));
    for (int i = 1; i < expected; i++) {
        EQ(pthread_create(&thread, NULL, wait_and_count_on_pthread, &counter), 0);
    }
    PyThread_exit_thread();
}

TEST(main_may_exit_before_pthreads_that_start_the_first_thread)
{
    pthread_t thread;
    expect(3);
    EQ(pthread_create(&thread, NULL, wait_and_start_on_pthread, (void *)2), 0);
    PyThread_exit_thread();
}

/* Main ends by pthread_exit, from inside a call, while there is a thread on every kind of OS
   thread. */
static void *count_and_pthread_exit(void *arg)
{
    wait_for_mains_end();
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
    expect(4);
    start(count_and_exit, &counter);
    start(wait_and_start, (void *)0);
    EQ(pthread_create(&thread, NULL, count_and_pthread_exit, &counter), 0);
    use_own_os_threads(1);
    start(count_and_exit, &counter);
    qsort(values, 2, sizeof *values, exit_in_comparison);
}
