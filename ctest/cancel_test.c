/*
 * cancel_test.c - a thread may be cancelled by pthread_cancel: it has ended then, and no later
 * thread on its OS thread is cancelled in its place.
 */
#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>

static pthread_t canceled;
static atomic_int cleaned_up;

static void be_canceled(void *arg)
{
    canceled = pthread_self();
    pthread_cleanup_push(count, &cleaned_up);
    stay(arg);
    pthread_cleanup_pop(0);
}

TEST(a_canceled_thread_has_ended)
{
    test_skip_under_asan("it takes frames that were unwound for live ones");
    for (int i = 1; i <= 100; i++) {
        pythread_stats stats;
        atomic_store(&inside, 0);
        use_own_os_threads(i % 4 == 0);
        PyThread_handle_t handle = start(be_canceled, NULL);
        wait_for_at_least(&inside, 1);
        EQ(pthread_cancel(canceled), 0);
        join(handle);
        EQ(atomic_load(&cleaned_up), i);
        run_all_kinds(1);
        pythread_get_stats(&stats, sizeof stats);
        EQ(stats.threads, 0);
        EQ(stats.handles, 0);
    }
}

static void be_canceled_too_late(void *type)
{
    int before;
    EQ(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before), 0);
    EQ(before, PTHREAD_CANCEL_ENABLE);
    EQ(pthread_setcanceltype(*(int *)type, &before), 0);
    EQ(before, PTHREAD_CANCEL_DEFERRED);
    canceled = pthread_self();
    stay(NULL);
}

static void test_cancel(void *arg)
{
    pthread_testcancel();
    sleep_ms(1);
    count(arg);
}

TEST(a_cancellation_does_not_hit_the_next_thread)
{
    enum { THREADS = 20 };
    PyThread_handle_t handles[THREADS];
    int types[] = {PTHREAD_CANCEL_ASYNCHRONOUS, PTHREAD_CANCEL_DEFERRED};
    for (int i = 0; i < 20; i++) {
        atomic_int ran = 0;
        atomic_store(&inside, 0);
        atomic_store(&leave, false);
        PyThread_handle_t handle = start(be_canceled_too_late, &types[i % 2]);
        wait_for_at_least(&inside, 1);
        EQ(pthread_cancel(canceled), 0);
        atomic_store(&leave, true);
        join(handle);
        for (int j = 0; j < THREADS; j++) {
            handles[j] = start(test_cancel, &ran);
        }
        for (int j = 0; j < THREADS; j++) {
            join(handles[j]);
        }
        EQ(atomic_load(&ran), THREADS);
    }
}
