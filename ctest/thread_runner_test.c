/*
 * thread_runner_test.c - threads that follow others, and so run on goroutines that have waited for
 * them. No case leaves anything behind.
 */
#define _GNU_SOURCE
#include "threads.h"

#include <errno.h>

static atomic_int counter;

TEST(threads_that_follow_others_now_and_then_run)
{
    enum { THREADS = 100 };
    for (int i = 0; i < THREADS; i++) {
        sleep_ms(2); /* the goroutine sleeps by now */
        join(start(count, &counter));
    }
    EQ(atomic_load(&counter), THREADS);
    check_nothing_is_left();
}

TEST(threads_that_follow_a_burst_run_at_the_same_time)
{
    enum { THREADS = 100, BURSTS = 20 };
    PyThread_handle_t handles[THREADS];
    for (int burst = 0; burst < BURSTS; burst++) {
        pthread_mutex_lock(&gate);
        for (int i = 0; i < THREADS; i++) {
            handles[i] = start(wait_at_gate, &counter);
        }
        wait_for_count(&counter, THREADS * (burst + 1));
        pthread_mutex_unlock(&gate);
        for (int i = 0; i < THREADS; i++) {
            join(handles[i]);
        }
    }
    EQ(atomic_load(&counter), THREADS * BURSTS);
    check_nothing_is_left();
}

static void start_and_join(void *arg)
{
    for (int i = 0; i < 500; i++) {
        join(start(count, arg));
    }
}

TEST(each_thread_that_others_start_at_once_runs_once)
{
    enum { CREATORS = 8 };
    PyThread_handle_t creators[CREATORS];
    for (int i = 0; i < CREATORS; i++) {
        creators[i] = start(start_and_join, &counter);
    }
    for (int i = 0; i < CREATORS; i++) {
        join(creators[i]);
    }
    EQ(atomic_load(&counter), CREATORS * 500);
    check_nothing_is_left();
}

TEST(a_detached_thread_that_follows_another_leaves_nothing)
{
    for (int i = 0; i < 500; i++) {
        join(start(count, &counter));
        NE(PyThread_start_new_thread(count, &counter), PYTHREAD_INVALID_THREAD_ID);
    }
    wait_for_count(&counter, 1000);
    check_nothing_is_left();
}

TEST(a_thread_that_a_goroutine_has_made_does_not_exist_before_its_start)
{
    for (int i = 0; i < 100; i++) {
        PyThread_handle_t last = start(count, &counter);
        join(last);
        /* The next idents, one of which a goroutine has for the next thread. */
        for (PyThread_handle_t next = last + 1; next < last + 4; next++) {
            int error = PyThread_join_thread(next);
            EQ(error == ESRCH || error == EINVAL, true);
            error = PyThread_detach_thread(next);
            EQ(error == ESRCH || error == EINVAL, true);
        }
        check_nothing_is_left();
    }
}
