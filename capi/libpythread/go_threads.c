//go:build unix

/*
 * go_threads.c - the OS threads that the Go runtime makes in a program of C's.
 *
 * The shared library is linked so that the runtime's pthread_create is the one below (--wrap).
 * Where the system refuses an OS thread, Go would end the process: here it gets one from a reserve,
 * and until the reserve is full again starts fail (thread.c). All OS threads of Go block all
 * signals from the start, so that a signal to the process runs its handler on a thread of the
 * program's. Invariant: go_threads_count is how many OS threads of Go's there are.
 */
#define _GNU_SOURCE
#include "go_threads.h"

#include "../thread.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

atomic_long go_threads_count;

#ifdef __linux__
static bool may_start(void);
#endif

/* The signal mask of the thread that loads the library, while Go starts. */
static sigset_t loaders_mask;
static bool is_loaded;

void go_threads_are_up(void)
{
    unsigned starting = GO_IS_STARTING;
    /* Unless it was given up. Release: what the start did happens before a call that finds this. */
    atomic_compare_exchange_strong_explicit(&go_state, &starting, GO_IS_UP, memory_order_release,
                                            memory_order_relaxed);
    os_wake(&go_state, INT_MAX);
}

void go_threads_meet(void)
{
    static atomic_uint arrived;
    atomic_fetch_add_explicit(&arrived, 1, memory_order_relaxed);
    os_wake(&arrived, INT_MAX);
    for (unsigned now; (now = atomic_load_explicit(&arrived, memory_order_relaxed)) < GO_WORKERS;) {
        os_wait(&arrived, now, OS_NO_DEADLINE);
    }
}

/* Before Go's own constructor, and after it. */
__attribute__((constructor(101))) static void before_go_starts(void)
{
    atomic_store_explicit(&go_state, GO_IS_STARTING, memory_order_relaxed);
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &loaders_mask);
}

__attribute__((constructor)) static void after_go_started(void)
{
    is_loaded = true;
    signals_stay_blocked = true;
#ifdef __linux__
    thread_may_start = may_start;
#endif
    pthread_sigmask(SIG_SETMASK, &loaders_mask, NULL);
}

#ifdef __linux__

/* NULL where the library is linked without --wrap, as an archive is: then nobody calls here. */
__attribute__((weak)) int __real_pthread_create(pthread_t *, const pthread_attr_t *,
                                                void *(*)(void *), void *);
int __wrap_pthread_create(pthread_t *os_thread, const pthread_attr_t *attr, void *(*func)(void *),
                          void *arg);

/* ------------------------------------------------------------------------ the reserve */

/* An OS thread that waits until Go needs it. */
struct spare {
    struct spare *next;
    pthread_t os_thread;
    /* 1 once func and arg are set. */
    atomic_uint is_called;
    void *(*func)(void *);
    void *arg;
};

/* How many wait. With 16, bursts of starts at the limit of the system's have not emptied it. */
enum { RESERVE = 16 };

/* Guards the reserve. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct spare *spares;
static int spare_count;

/* False before the first start, and when Go took some. */
static atomic_bool is_full;

static void *be_spare(void *arg)
{
    struct spare *spare = arg;
    /* Acquire: func and arg are those that were set before. */
    while (atomic_load_explicit(&spare->is_called, memory_order_acquire) == 0) {
        os_wait(&spare->is_called, 0, OS_NO_DEADLINE);
    }
    void *result = spare->func(spare->arg);
    free(spare);
    atomic_fetch_sub_explicit(&go_threads_count, 1, memory_order_relaxed);
    return result;
}

/* Adds an OS thread to the reserve. False where it is full, or the system has none. */
static bool add_spare(void)
{
    struct spare *spare = calloc(1, sizeof *spare);
    bool added = false;
    os_signals mask = os_block_signals();
    pthread_mutex_lock(&mutex);
    if (spare != NULL && spare_count < RESERVE) {
        added = __real_pthread_create(&spare->os_thread, NULL, be_spare, spare) == 0;
    }
    if (added) {
        pthread_detach(spare->os_thread);
        spare->next = spares;
        spares = spare;
        spare_count++;
        atomic_fetch_add_explicit(&go_threads_count, 1, memory_order_relaxed);
        spare = NULL;
    }
    pthread_mutex_unlock(&mutex);
    os_set_signal_mask(mask);
    free(spare);
    return added;
}

/* How many OS threads Go has, or finds in the reserve, that run no thread. Go never ends those that
   it took, so the reserve may stay short of what they have. */
static long idle_count(void)
{
    enum { GOS_OWN = 4 }; /* its first, its monitor, the one that makes others, one for ends */
    return atomic_load_explicit(&go_threads_count, memory_order_relaxed) -
           atomic_load_explicit(&thread_run_count, memory_order_relaxed) - GOS_OWN;
}

/*
 * True where a thread may start: Go finds OS threads in the reserve, whatever the system says. The
 * first start fills the reserve.
 */
static bool may_start(void)
{
    /* Relaxed, here and below: it is advice; the mutex orders the reserve. */
    if (atomic_load_explicit(&is_full, memory_order_relaxed)) {
        return true;
    }
    while (add_spare()) {
    }
    pthread_mutex_lock(&mutex);
    bool filled = spare_count == RESERVE;
    atomic_store_explicit(&is_full, filled, memory_order_relaxed);
    pthread_mutex_unlock(&mutex);
    return filled || idle_count() >= RESERVE;
}

static bool call_spare(void *(*func)(void *), void *arg)
{
    pthread_mutex_lock(&mutex);
    struct spare *spare = spares;
    if (spare != NULL) {
        spares = spare->next;
        spare_count--;
    }
    atomic_store_explicit(&is_full, false, memory_order_relaxed);
    pthread_mutex_unlock(&mutex);
    if (spare == NULL) {
        return false;
    }
    spare->func = func;
    spare->arg = arg;
    atomic_store_explicit(&spare->is_called, 1, memory_order_release);
    os_wake(&spare->is_called, 1);
    return true;
}

/* ------------------------------------------------------------------------ pthread_create */

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

static bool create(pthread_t *os_thread, const pthread_attr_t *attr, void *(*func)(void *),
                   void *arg)
{
    struct start *start = malloc(sizeof *start);
    if (start == NULL) {
        return false;
    }
    *start = (struct start){func, arg};
    if (__real_pthread_create(os_thread, attr, run, start) != 0) {
        free(start);
        return false;
    }
    atomic_fetch_add_explicit(&go_threads_count, 1, memory_order_relaxed);
    return true;
}

/* Go looks at no pthread_t that it gets here, and makes all its OS threads detached. */
int __wrap_pthread_create(pthread_t *os_thread, const pthread_attr_t *attr, void *(*func)(void *),
                          void *arg)
{
    const struct timespec tick = {0, 1000000};
    unsigned starting = GO_IS_STARTING;
    if (create(os_thread, attr, func, arg)) {
        return 0;
    }
    if (atomic_compare_exchange_strong_explicit(&go_state, &starting, GO_IS_GIVEN_UP,
                                                memory_order_relaxed, memory_order_relaxed)) {
        os_wake(&go_state, INT_MAX);
    }
    if (!is_loaded) {
        /* The loader waits, and Go asks for its first OS thread, which nobody will miss. */
        return 0;
    }
    while (!go_is_here()) {
        pause();
    }
    /* With the reserve empty, Go waits until others end, or limits are raised. */
    while (!call_spare(func, arg) && !create(os_thread, attr, func, arg)) {
        nanosleep(&tick, NULL);
    }
    return 0;
}

#endif
