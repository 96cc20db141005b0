/*
 * thread_ident_test.c - each thread has an ident that no other ever has, and the number of its OS
 * thread; a thread that the library did not start has those that the system gives it.
 */
#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>
#include <signal.h>
#ifdef _WIN32
#include <windows.h>
#else
#include <sys/syscall.h>
#endif

static atomic_int counter;

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

static int compare_idents(const void *a, const void *b)
{
    PyThread_ident_t first = *(const PyThread_ident_t *)a, second = *(const PyThread_ident_t *)b;
    return (first > second) - (first < second);
}

TEST(idents_are_never_used_again)
{
    enum { THREADS = 20000 };
    static PyThread_ident_t idents[THREADS];
    PyThread_handle_t handle;
    for (int i = 0; i < THREADS; i++) {
        EQ(PyThread_start_joinable_thread(nothing, NULL, &idents[i], &handle), 0);
        NE(idents[i], 0);
        join(handle);
    }
    /* They need not grow: the goroutine that waits for a start has its thread's ident already. */
    qsort(idents, THREADS, sizeof *idents, compare_idents);
    for (int i = 1; i < THREADS; i++) {
        GT(idents[i], idents[i - 1]);
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
