/*
 * thread_test.c - threads as a C program sees them: start, join, detach, exit, idents, and what a
 * bad handle gets. No case leaves anything behind.
 */
#define _GNU_SOURCE
#include "process.h"
#include "threads.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#ifdef _WIN32
#include <windows.h>
#else
#include <sys/syscall.h>
#endif

static atomic_int counter;

/* Threads wait at the gate until the case opens it. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void wait_at_gate(void *arg)
{
    count(arg);
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
}

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

static void sleep_and_count(void *arg)
{
    sleep_ms(200);
    count(arg);
}

TEST(join_of_a_long_thread_waits_to_its_end)
{
    PyThread_handle_t handle = start(sleep_and_count, &counter);
    EQ(atomic_load(&counter), 0);
    join(handle);
    EQ(atomic_load(&counter), 1);
}

TEST(join_of_a_thread_that_ended_long_ago_returns)
{
    PyThread_handle_t handle = start(count, &counter);
    wait_for_count(&counter, 1);
    sleep_ms(50);
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
    pythread_get_stats(&stats);
    EQ(stats.threads, THREADS);
    EQ(stats.handles, THREADS);
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < THREADS; i++) {
        join(handles[i]);
    }
    check_nothing_is_left();
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

/* Threads that are about to join shared. */
static atomic_int joiners_begun;

static void join_shared(void *arg)
{
    atomic_fetch_add(&joiners_begun, 1);
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
    wait_for_count(&joiners_begun, JOINERS);
    sleep_ms(500); /* for the step from there into the join */
    EQ(atomic_load(&succeeded), 0);
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < JOINERS; i++) {
        join(joiners[i]);
    }
    EQ(atomic_load(&succeeded), JOINERS);
    EQ(PyThread_join_thread(shared), EINVAL);
    check_nothing_is_left();
}

/* ------------------------------------------------------------------------ idents */

/* What the system says of the calling thread. */
#ifdef _WIN32
#define NATIVE_ID GetCurrentThreadId()
#define FOREIGN_IDENT (~GetCurrentThreadId())
#else
#define NATIVE_ID ((unsigned long)syscall(SYS_gettid))
#define FOREIGN_IDENT ((unsigned long)pthread_self())
#endif

static PyThread_ident_t seen_ident, seen_native;

static void see_idents(void *arg)
{
    (void)arg;
    seen_ident = PyThread_get_thread_ident_ex();
    EQ(PyThread_get_thread_ident(), seen_ident);
    EQ(PyThread_get_thread_ident_ex(), seen_ident);
    seen_native = PyThread_get_thread_native_id();
    EQ(seen_native, NATIVE_ID);
    atomic_fetch_add(&counter, 1);
}

TEST(ident_is_the_same_inside_and_outside)
{
    PyThread_ident_t ident;
    PyThread_handle_t handle;
    for (int i = 0; i < 100; i++) {
        EQ(PyThread_start_joinable_thread(see_idents, NULL, &ident, &handle), 0);
        join(handle);
        EQ(ident, seen_ident);
    }
    for (int i = 0; i < 100; i++) {
        unsigned long detached = PyThread_start_new_thread(see_idents, NULL);
        NE(detached, PYTHREAD_INVALID_THREAD_ID);
        wait_for_count(&counter, 101 + i);
        EQ(detached, seen_ident);
    }
}

/* A function of the Go program that runs this test, where it is one: ctest/host/goroutine.go. */
__attribute__((weak)) uint64_t host_running_handle(uint64_t ident);

static void see_handle(void *ident_of_handle)
{
    *(uint64_t *)ident_of_handle = host_running_handle(PyThread_get_thread_ident_ex());
}

TEST(a_thread_runs_on_the_goroutine_whose_handle_has_its_ident)
{
    PyThread_ident_t ident;
    PyThread_handle_t handle;
    uint64_t inside;
    if (host_running_handle == NULL) {
        test_skip("only a Go program can look at goroutines; the same case of host_thread does");
    }
    for (int i = 0; i < 100; i++) {
        EQ(PyThread_start_joinable_thread(see_handle, &inside, &ident, &handle), 0);
        join(handle);
        EQ(inside, ident);
        EQ(host_running_handle(ident), 0);
    }
}

TEST(idents_are_never_used_again)
{
    enum { THREADS = 20000 };
    static PyThread_ident_t idents[THREADS];
    PyThread_handle_t handle;
    for (int i = 0; i < THREADS; i++) {
        EQ(PyThread_start_joinable_thread(nothing, NULL, &idents[i], &handle), 0);
        NE(idents[i], 0);
        if (i > 0) {
            GT(idents[i], idents[i - 1]);
        }
        join(handle);
    }
}

static void *foreign_idents(void *arg)
{
    EQ(PyThread_get_thread_ident(), FOREIGN_IDENT);
    EQ(PyThread_get_thread_native_id(), NATIVE_ID);
    return arg;
}

TEST(a_thread_not_started_here_is_its_pthread)
{
    pthread_t thread;
    foreign_idents(NULL);
    join(start(nothing, NULL));
    foreign_idents(NULL);
    EQ(pthread_create(&thread, NULL, foreign_idents, NULL), 0);
    EQ(pthread_join(thread, NULL), 0);
#ifndef _WIN32
    EQ(pthread_kill((pthread_t)PyThread_get_thread_ident(), 0), 0);
#endif
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

/* ------------------------------------------------------------------------ exit, hang */

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
    pythread_get_stats(&before);
    for (int i = 0; i < 10000; i++) {
        NE(PyThread_start_new_thread(exit_nested, &counter), PYTHREAD_INVALID_THREAD_ID);
        wait_for_count(&counter, i + 2);
    }
    check_nothing_is_left();
    pythread_get_stats(&after);
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
    pythread_get_stats(&stats);
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

/* ------------------------------------------------------------------------ misuse */

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
