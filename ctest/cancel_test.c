/*
 * cancel_test.c - a thread may be cancelled by pthread_cancel: it has ended then, and no later
 * thread on its OS thread is cancelled in its place.
 */
#define _GNU_SOURCE
#include "signals.h"
#include "threads.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/time.h>

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

/* ------------------------------------------------------------------------ in calls of the library
 */

static atomic_int returned;

static void *trace_and_dump(void *unused)
{
    int file = open("/dev/null", O_WRONLY);
    EQ(pthread_cancel(pthread_self()), 0);
    EQ(pythread_trace("/dev/null"), 0);
    EQ(pythread_dump(file), 0);
    EQ(pythread_trace(NULL), 0);
    count(&returned);
    pthread_testcancel();
    return unused;
}

TEST(a_cancellation_waits_for_the_end_of_a_trace_and_of_a_dump)
{
    pthread_t pthread;
    void *result;
    EQ(pthread_create(&pthread, NULL, trace_and_dump, NULL), 0);
    EQ(pthread_join(pthread, &result), 0);
    EQ_PTR(result, PTHREAD_CANCELED);
    EQ(atomic_load(&returned), 1);
}

static void ignore(int sig)
{
    (void)sig;
}

/* The calls often wait for main to take its signal, with all signals blocked. */
static void *start_and_join_without_end(void *unused)
{
    count(&inside);
    for (;;) {
        join(start(nothing, NULL));
        pthread_testcancel();
    }
    return unused;
}

TEST(a_cancellation_waits_for_the_end_of_a_start_and_of_a_join)
{
    enum { ROUNDS = 200 };
    const struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
    set_handler(SIGALRM, ignore, SA_RESTART);
    EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
    for (int i = 1; i <= ROUNDS; i++) {
        pthread_t pthread;
        void *result;
        EQ(pthread_create(&pthread, NULL, start_and_join_without_end, NULL), 0);
        wait_for_count(&inside, i);
        usleep((unsigned)i * 7);
        EQ(pthread_cancel(pthread), 0);
        EQ(pthread_join(pthread, &result), 0);
        EQ_PTR(result, PTHREAD_CANCELED);
    }
    EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
    check_nothing_is_left();
}
