/*
 * load.h - runs the library under load for a given time: threads one after the other, detached
 * threads, and a mix of everything that threads do. It checks that nothing is lost, that memory and
 * OS threads do not grow after a while, and that nothing remains at the end. load_test.c runs this
 * for some seconds, load_stress_test.c for as long as you like.
 */
#ifndef LOAD_H
#define LOAD_H

#include "process.h"
#include "threads.h"

#include <pthread.h>

static atomic_llong load_counter;

/* A load is divided into windows. The first few warm the library. After them, no window may end
   with more memory than the first of these, except for the slack of the allocator. */
struct load_windows {
    int number;
    long resident;
};

enum { LOAD_WINDOWS = 10, LOAD_WARM = 3, LOAD_OS_THREADS = 128 };

/* Checks the end of a window. At most `alive` threads were alive at once. */
static inline void load_check_window(struct load_windows *windows, long alive)
{
    pythread_stats stats;
    long resident = resident_kib();
    if (windows->number == LOAD_WARM) {
        windows->resident = resident;
    }
    if (windows->number > LOAD_WARM) {
        LE(resident - windows->resident, RESIDENT_SLACK_KIB);
    }
    pythread_get_stats(&stats, sizeof stats);
    LE(stats.os_threads, alive + LOAD_OS_THREADS);
    LE(os_threads(), alive + 2 * LOAD_OS_THREADS);
    windows->number++;
}

static inline void load_count(void *arg)
{
    (void)arg;
    atomic_fetch_add_explicit(&load_counter, 1, memory_order_relaxed);
}

/* Starts and joins one thread after the other, for some seconds or up to a number of threads. */
static inline void load_sequence(int seconds, long long most)
{
    struct load_windows windows = {0};
    long long begin = monotonic_ns(), threads = 0;
    while (windows.number < LOAD_WINDOWS) {
        long long end = begin + (windows.number + 1) * (seconds * 1000000000LL / LOAD_WINDOWS);
        long long last = (windows.number + 1) * (most / LOAD_WINDOWS);
        while (threads < last && monotonic_ns() < end) {
            join(start(load_count, NULL));
            threads++;
        }
        load_check_window(&windows, 1);
    }
    EQ(atomic_load(&load_counter), threads);
    check_nothing_is_left();
    printf("%lld threads in %lld ms\n", threads, (monotonic_ns() - begin) / 1000000);
}

/* Starts detached threads, a limited number at once, for some seconds or up to a number of threads.
 */
static inline void load_detached(int seconds, long long most)
{
    enum { ALIVE = 100 };
    struct load_windows windows = {0};
    long long begin = monotonic_ns(), threads = 0;
    while (windows.number < LOAD_WINDOWS) {
        long long end = begin + (windows.number + 1) * (seconds * 1000000000LL / LOAD_WINDOWS);
        long long last = (windows.number + 1) * (most / LOAD_WINDOWS);
        while (threads < last && monotonic_ns() < end) {
            while (threads - atomic_load(&load_counter) >= ALIVE) {
                sched_yield();
            }
            NE(PyThread_start_new_thread(load_count, NULL), PYTHREAD_INVALID_THREAD_ID);
            threads++;
        }
        load_check_window(&windows, ALIVE);
    }
    check_nothing_is_left();
    EQ(atomic_load(&load_counter), threads);
    printf("%lld threads in %lld ms\n", threads, (monotonic_ns() - begin) / 1000000);
}

enum { LOAD_STARTERS = 4, LOAD_CHILDREN = 16, LOAD_LOCKS = 5, LOAD_KEYS = 5 };
/* The starters, all threads that they start at once, and as many detached threads of the round
   before. */
enum { LOAD_ALIVE = LOAD_STARTERS + 2 * 2 * LOAD_STARTERS * LOAD_CHILDREN };

static PyThread_type_lock load_locks[LOAD_LOCKS];
/* Each is guarded by the lock with the same number. */
static long long load_guarded[LOAD_LOCKS];
static Py_tss_t load_keys[LOAD_KEYS];
static atomic_llong load_guarded_sum, load_started;
static atomic_int load_stopped;

/* The work of a thread: every call for locks and storage, and every way to end. */
static inline void load_work(void *arg)
{
    uintptr_t number = (uintptr_t)arg;
    Py_tss_t own = Py_tss_NEEDS_INIT;
    EQ(PyThread_tss_create(&own), 0);
    EQ_PTR(PyThread_tss_get(&own), NULL);
    EQ(PyThread_tss_set(&own, &own), 0);
    for (uintptr_t i = 0; i < LOAD_KEYS; i++) {
        EQ_PTR(PyThread_tss_get(&load_keys[i]), NULL);
        EQ(PyThread_tss_set(&load_keys[i], (void *)(number + i)), 0);
    }
    for (uintptr_t i = 0; i < LOAD_LOCKS; i++) {
        uintptr_t lock = (number + i) % LOAD_LOCKS;
        int acquired;
        switch ((number + i) % 4) {
        case 0:
            acquired = PyThread_acquire_lock(load_locks[lock], WAIT_LOCK);
            break;
        case 1:
            acquired = PyThread_acquire_lock(load_locks[lock], NOWAIT_LOCK);
            break;
        case 2:
            acquired = PyThread_acquire_lock_timed(load_locks[lock], 20, 0) == PY_LOCK_ACQUIRED;
            break;
        default:
            acquired = PyThread_acquire_lock_timed(load_locks[lock], -1, 1) == PY_LOCK_ACQUIRED;
        }
        if (acquired) {
            load_guarded[lock]++;
            if (number % 64 == 0) {
                sched_yield();
            }
            PyThread_release_lock(load_locks[lock]);
            atomic_fetch_add_explicit(&load_guarded_sum, 1, memory_order_relaxed);
        }
    }
    for (uintptr_t i = 0; i < LOAD_KEYS; i++) {
        EQ_PTR(PyThread_tss_get(&load_keys[i]), (void *)(number + i));
    }
    EQ_PTR(PyThread_tss_get(&own), &own);
    PyThread_tss_delete(&own);
    load_count(NULL);
    if (number % 3 == 0) {
        PyThread_exit_thread();
    }
}

/* Starts threads a few at a time, and joins or detaches them. */
static inline void load_start_on(void *arg)
{
    PyThread_handle_t children[LOAD_CHILDREN];
    uintptr_t number = 0;
    (void)arg;
    while (atomic_load(&load_stopped) == 0) {
        if (atomic_load(&load_started) - atomic_load(&load_counter) > LOAD_ALIVE / 2) {
            sched_yield();
            continue;
        }
        atomic_fetch_add(&load_started, LOAD_CHILDREN);
        for (int i = 0; i < LOAD_CHILDREN; i++) {
            children[i] = start(load_work, (void *)number++);
        }
        for (int i = 0; i < LOAD_CHILDREN; i++) {
            if (i % 8 == 7) {
                EQ(PyThread_detach_thread(children[i]), 0);
            } else {
                join(children[i]);
            }
        }
    }
}

static inline void *load_start_on_pthread(void *arg)
{
    load_start_on(arg);
    return NULL;
}

/* For some seconds, threads and pthreads start threads that use locks and storage. */
static inline void load_mixed(int seconds)
{
    struct load_windows windows = {0};
    PyThread_handle_t threads[LOAD_STARTERS];
    pthread_t pthreads[LOAD_STARTERS];
    long long guarded = 0;
    for (int i = 0; i < LOAD_LOCKS; i++) {
        load_locks[i] = PyThread_allocate_lock();
        CHECK(load_locks[i] != NULL);
    }
    for (int i = 0; i < LOAD_KEYS; i++) {
        EQ(PyThread_tss_create(&load_keys[i]), 0);
    }
    for (int i = 0; i < LOAD_STARTERS; i++) {
        threads[i] = start(load_start_on, NULL);
        EQ(pthread_create(&pthreads[i], NULL, load_start_on_pthread, NULL), 0);
    }
    while (windows.number < LOAD_WINDOWS) {
        sleep_ms(seconds * 1000L / LOAD_WINDOWS);
        load_check_window(&windows, LOAD_ALIVE);
    }
    atomic_store(&load_stopped, 1);
    for (int i = 0; i < LOAD_STARTERS; i++) {
        join(threads[i]);
        EQ(pthread_join(pthreads[i], NULL), 0);
    }
    check_nothing_is_left();
    EQ(atomic_load(&load_counter), atomic_load(&load_started));
    for (int i = 0; i < LOAD_LOCKS; i++) {
        EQ(PyThread_acquire_lock(load_locks[i], NOWAIT_LOCK), 1);
        PyThread_free_lock(load_locks[i]);
        guarded += load_guarded[i];
    }
    EQ(guarded, atomic_load(&load_guarded_sum));
    printf("%lld threads in %d s\n", atomic_load(&load_started), seconds);
}

#endif
