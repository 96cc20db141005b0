/*
 * threads.h - for tests: starts, joins and counts threads of the library, lets them wait, and
 * checks that nothing of them is left.
 */
#ifndef THREADS_H
#define THREADS_H

#include "pythread.h"
#include "test.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdbool.h>

static inline PyThread_handle_t start(void (*func)(void *), void *arg)
{
    PyThread_ident_t ident;
    PyThread_handle_t handle;
    EQ(PyThread_start_joinable_thread(func, arg, &ident, &handle), 0);
    return handle;
}

static inline void join(PyThread_handle_t handle)
{
    EQ(PyThread_join_thread(handle), 0);
}

/* The function of a thread that joins another one. The argument points to the handle. */
static inline void join_it(void *handle)
{
    join(*(PyThread_handle_t *)handle);
}

/* From now on threads have OS threads of their own, or the library's default. */
static inline void use_own_os_threads(int on)
{
    static int usual = -1;
    if (usual == -1) {
        usual = pythread_set_reuse(PYTHREAD_REUSE_NEVER);
    }
    pythread_set_reuse(on ? PYTHREAD_REUSE_NEVER : usual);
}

/* Functions of threads: one does nothing, one counts in an atomic_int, one waits for a semaphore.
 */
static inline void nothing(void *arg)
{
    (void)arg;
}

static inline void count(void *counter)
{
    atomic_fetch_add((atomic_int *)counter, 1);
}

static inline void wait_at_door(void *door)
{
    while (sem_wait(door) != 0) {
    }
}

/* Threads wait at the gate until the case opens it. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static inline void wait_at_gate(void *arg)
{
    count(arg);
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
}

/* Waits until the counter is this high. No thread may count beyond it. */
static inline void wait_for_count(atomic_int *counter, int expected)
{
    for (int i = 0; i < 20000 && atomic_load(counter) < expected; i++) {
        /* Most counts are a moment away. */
        if (i < 100) {
            sched_yield();
        } else {
            sleep_ms(1);
        }
    }
    EQ(atomic_load(counter), expected);
}

/* Waits until the counter is this high or higher. */
static inline void wait_for_at_least(atomic_int *counter, int expected)
{
    for (int i = 0; i < 40000 && atomic_load(counter) < expected; i++) {
        sleep_ms(1);
    }
    GE(atomic_load(counter), expected);
}

/* Threads that stay are counted in `inside`, and return once `leave` is set. */
static atomic_int inside;
static atomic_bool leave;

static inline void stay(void *arg)
{
    (void)arg;
    count(&inside);
    while (!atomic_load(&leave)) {
        sleep_ms(1);
    }
}

/* Starts and joins threads of all kinds, so many times: one on any OS thread, one on an OS thread
   of its own, and many at once. */
static inline void run_all_kinds(int rounds)
{
    enum { BATCH = 20 };
    PyThread_handle_t handles[BATCH];
    for (int i = 0; i < rounds; i++) {
        atomic_int ran = 0;
        join(start(count, &ran));
        int before = pythread_set_reuse(PYTHREAD_REUSE_NEVER);
        join(start(count, &ran));
        pythread_set_reuse(before);
        for (int j = 0; j < BATCH; j++) {
            handles[j] = start(count, &ran);
        }
        for (int j = 0; j < BATCH; j++) {
            join(handles[j]);
        }
        EQ(atomic_load(&ran), BATCH + 2);
    }
}

/* Makes a lock and a key, and uses both. */
static inline void use_lock_and_key(void)
{
    Py_tss_t key = Py_tss_NEEDS_INIT;
    PyThread_type_lock lock = PyThread_allocate_lock();
    EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
    EQ(PyThread_acquire_lock_timed(lock, 100, 1), PY_LOCK_FAILURE);
    PyThread_release_lock(lock);
    PyThread_free_lock(lock);
    EQ(PyThread_tss_create(&key), 0);
    EQ(PyThread_tss_set(&key, &key), 0);
    EQ_PTR(PyThread_tss_get(&key), &key);
    PyThread_tss_delete(&key);
}

/* Checks that no thread, no handle and no goroutine is left, after a while. */
static inline void check_nothing_is_left(void)
{
    pythread_stats stats;
    for (int i = 0; i < 20000; i++) {
        pythread_get_stats(&stats, sizeof stats);
        if (stats.goroutines == 0 && stats.threads == 0 && stats.handles == 0) {
            break;
        }
        sleep_ms(1);
    }
    EQ(stats.goroutines, 0);
    EQ(stats.threads, 0);
    EQ(stats.handles, 0);
}

#endif
