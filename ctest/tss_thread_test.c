/*
 * tss_thread_test.c - thread-specific storage in threads that the library starts: a value belongs
 * to the thread, not to the OS thread that it ran on.
 */
#define _GNU_SOURCE
#include "keys.h"
#include "process.h"
#include "threads.h"

#include <pthread.h>
#include <stdbool.h>

enum { KEYS = 100 };
static Py_tss_t keys[KEYS];

static void create_keys(void)
{
    for (int i = 0; i < KEYS; i++) {
        EQ(PyThread_tss_create(&keys[i]), 0);
    }
}

static void check_and_set(int count)
{
    for (int i = 0; i < KEYS; i++) {
        EQ_PTR(PyThread_tss_get(&keys[i]), NULL);
    }
    for (int i = 0; i < count; i++) {
        EQ(PyThread_tss_set(&keys[i], value(i)), 0);
    }
    for (int i = 0; i < KEYS; i++) {
        EQ_PTR(PyThread_tss_get(&keys[i]), i < count ? value(i) : NULL);
    }
}

static void run_in_thread(void (*func)(void *), void *arg)
{
    join(start(func, arg));
}

struct visit {
    int count;
    bool exits;
    unsigned long os_thread;
};

static void visit_keys(void *arg)
{
    struct visit *visit = arg;
    visit->os_thread = PyThread_get_thread_native_id();
    check_and_set(visit->count);
    if (visit->exits) {
        PyThread_exit_thread();
    }
}

TEST(a_thread_finds_nothing_that_another_left_on_its_os_thread)
{
    static const int counts[] = {1, 3, 4, KEYS};
    unsigned long last = 0;
    int reused = 0;
    create_keys();
    for (int i = 0; i < 1000; i++) {
        struct visit visit = {counts[i % 4], i % 3 == 0, 0};
        run_in_thread(visit_keys, &visit);
        reused += visit.os_thread == last;
        last = visit.os_thread;
    }
    if (reused == 0) {
        test_skip("no OS thread was used twice");
    }
}

static void keep_values(void *arg)
{
    size_t own = (size_t)PyThread_get_thread_ident();
    for (int i = 0; i < KEYS; i++) {
        EQ_PTR(PyThread_tss_get(&keys[i]), NULL);
        EQ(PyThread_tss_set(&keys[i], value(own + i)), 0);
    }
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < KEYS; i++) {
            EQ_PTR(PyThread_tss_get(&keys[i]), value(own + i));
        }
        PyThread_get_thread_native_id();
    }
    (void)arg;
}

TEST(many_threads_at_once_keep_their_own_values)
{
    PyThread_handle_t handles[64];
    create_keys();
    check_and_set(KEYS);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 64; i++) {
            handles[i] = start(keep_values, NULL);
        }
        for (int i = 0; i < 64; i++) {
            join(handles[i]);
        }
    }
    for (int i = 0; i < KEYS; i++) {
        EQ_PTR(PyThread_tss_get(&keys[i]), value(i));
    }
}

static void set_all(void *arg)
{
    (void)arg;
    check_and_set(KEYS);
}

static void run_in_threads(int count, void (*func)(void *))
{
    for (int i = 0; i < count; i++) {
        run_in_thread(func, NULL);
    }
}

static void check_memory_is_flat(int count, void (*func)(void *))
{
    create_keys();
    run_in_threads(count / 5, func);
    size_t before = allocated_bytes();
    run_in_threads(count, func);
    /* Values left behind would take about 4 KiB a thread. */
    LT(allocated_bytes(), before + 300 * (size_t)count);
}

TEST(ended_threads_leave_nothing_on_reused_os_threads)
{
    check_memory_is_flat(10000, set_all);
}

TEST(ended_threads_leave_nothing_on_own_os_threads)
{
    use_own_os_threads(1);
    check_memory_is_flat(1000, set_all);
}

#ifndef _WIN32
static pthread_key_t key_of_program;
static atomic_int ends;

/* This destructor may run before or after the values are gone. */
static void use_storage_at_end(void *arg)
{
    (void)arg;
    for (int i = 0; i < KEYS; i++) {
        void *left = PyThread_tss_get(&keys[i]);
        CHECK(left == NULL || left == value(i));
        EQ(PyThread_tss_set(&keys[i], value(i + 1)), 0);
        EQ_PTR(PyThread_tss_get(&keys[i]), value(i + 1));
    }
    atomic_fetch_add(&ends, 1);
}

static void end_with_storage(void *arg)
{
    check_and_set(KEYS);
    EQ(pthread_setspecific(key_of_program, &ends), 0);
    (void)arg;
}

TEST(destructors_on_an_own_os_thread_use_storage)
{
    EQ(pthread_key_create(&key_of_program, use_storage_at_end), 0);
    use_own_os_threads(1);
    check_memory_is_flat(1000, end_with_storage);
    EQ(atomic_load(&ends), 1000 + 1000 / 5);
}

TEST(threads_in_the_child_of_a_fork_have_values_of_their_own)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    create_keys();
    check_and_set(KEYS);
    run_in_threads(10, set_all);
    pid_t child = fork_mortal();
    if (child == 0) {
        for (int i = 0; i < KEYS; i++) {
            EQ_PTR(PyThread_tss_get(&keys[i]), value(i));
        }
        run_in_threads(10, set_all);
        _exit(0);
    }
    reap(child, 0);
}
#endif
