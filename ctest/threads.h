/*
 * threads.h - what many tests do with threads: start one, join it, and see that nothing of it is
 * left in the end.
 */
#ifndef THREADS_H
#define THREADS_H

#include "pythread.h"
#include "test.h"

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

static inline void nothing(void *arg)
{
    (void)arg;
}

/* A carrier stays a while after its last thread. */
static inline void check_nothing_is_left(void)
{
    pythread_stats stats;
    for (int i = 0; i < 20000; i++) {
        pythread_get_stats(&stats);
        if (stats.goroutines == 0 && stats.threads == 0) {
            break;
        }
        sleep_ms(1);
    }
    EQ(stats.goroutines, 0);
    EQ(stats.threads, 0);
    EQ(stats.handles, 0);
}

#endif
