//go:build unix

/*
 * go_threads.c - the OS threads that the Go runtime makes in a program of C's.
 *
 * The shared library is linked so that the runtime's pthread_create is the one below (--wrap).
 * Where the system refuses an OS thread, Go would end the process: here Go waits until it gets one,
 * and meanwhile starts fail (thread.c). All OS threads of Go block all signals from the start, so
 * that a signal to the process runs its handler on a thread of the program's. Invariant:
 * go_threads_count is how many OS threads of Go's there are.
 */
#define _GNU_SOURCE
#include "go_threads.h"

#include "../thread.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

atomic_long go_threads_count;

/* The signal mask of the thread that loads the library, while Go starts. */
static sigset_t loaders_mask;
static bool is_loaded;

/* Before Go's own constructor, and after it. */
__attribute__((constructor(101))) static void before_go_starts(void)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &loaders_mask);
}

__attribute__((constructor)) static void after_go_started(void)
{
    is_loaded = true;
    signals_stay_blocked = true;
    pthread_sigmask(SIG_SETMASK, &loaders_mask, NULL);
}

#ifdef __linux__

/* NULL where the library is linked without --wrap, as an archive is: then nobody calls here. */
__attribute__((weak)) int __real_pthread_create(pthread_t *, const pthread_attr_t *,
                                                void *(*)(void *), void *);
int __wrap_pthread_create(pthread_t *os_thread, const pthread_attr_t *attr, void *(*func)(void *),
                          void *arg);

struct start {
    void *(*func)(void *);
    void *arg;
};

static void *run(void *arg)
{
    struct start start = *(struct start *)arg;
    free(arg);
    void *result = start.func(start.arg);
    atomic_fetch_sub_explicit(&go_threads_count, 1, memory_order_relaxed);
    return result;
}

/* Waits until the system has an OS thread for Go again: when others end, or limits are raised. */
static int create_at_last(pthread_t *os_thread, const pthread_attr_t *attr, struct start *start)
{
    const struct timespec pause = {0, 1000000};
    int error;
    atomic_fetch_add_explicit(&go_waits_for_os_threads, 1, memory_order_relaxed);
    do {
        nanosleep(&pause, NULL);
        error = __real_pthread_create(os_thread, attr, run, start);
    } while (error != 0);
    atomic_fetch_sub_explicit(&go_waits_for_os_threads, 1, memory_order_relaxed);
    return error;
}

int __wrap_pthread_create(pthread_t *os_thread, const pthread_attr_t *attr, void *(*func)(void *),
                          void *arg)
{
    struct start *start = malloc(sizeof *start);
    if (start == NULL) {
        abort(); /* As Go does where it has no memory. */
    }
    *start = (struct start){func, arg};
    atomic_fetch_add_explicit(&go_threads_count, 1, memory_order_relaxed);
    int error = __real_pthread_create(os_thread, attr, run, start);
    if (error != 0 && !is_loaded) {
        /* Go was to start. It never will, and nobody calls it: threads are plain pthreads. */
        go_is_refused = true;
        atomic_store_explicit(&go_threads_count, 0, memory_order_relaxed);
        free(start);
        return 0;
    }
    return error == 0 ? 0 : create_at_last(os_thread, attr, start);
}

#endif
