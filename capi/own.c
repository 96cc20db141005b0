/*
 * own.c - OS threads that end with the thread on them: pthreads that were made for one thread, and
 * those of Go's that one thread has left unfit for the next.
 *
 * A join has to return after the destructors of the OS thread's storage, which run when it ends.
 * This is C because an OS thread that ends must not enter Go any more: its end goes into a queue,
 * from which Go takes it on another OS thread. Invariant: every OS thread that is started or
 * watched here puts its end into the queue once, after the last destructor of the program.
 */
#define _GNU_SOURCE
#include "own.h"

#include "os.h"
#include "plain.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef __linux__
/* Where the library is linked so that Go's pthread_create is not the system's: that one. */
__attribute__((weak)) int __real_pthread_create(pthread_t *, const pthread_attr_t *,
                                                void *(*)(void *), void *);
#else
#define __real_pthread_create pthread_create
#endif

int own_pthread_create(pthread_t *os_thread, const pthread_attr_t *attr, void *(*func)(void *),
                       void *arg)
{
    return (__real_pthread_create != NULL ? __real_pthread_create : pthread_create)(os_thread, attr,
                                                                                    func, arg);
}

struct end {
    struct end *next;
    PyThread_ident_t ident;
    unsigned round;
    /* For a pthread that is to start. */
    thread_func func;
    void *arg;
};

/* The ends that Go has not taken: the newest first. The count of all ends is what Go sleeps on. */
static _Atomic(struct end *) ends;
static atomic_uint count;

void (*own_main_ends)(void);

static pthread_key_t key;
static bool has_key;

static void put(struct end *end)
{
    /* Release: what the thread did happens before its end is known. */
    struct end *newest = atomic_load_explicit(&ends, memory_order_relaxed);
    do {
        end->next = newest;
    } while (!atomic_compare_exchange_weak_explicit(&ends, &newest, end, memory_order_release,
                                                    memory_order_relaxed));
    atomic_fetch_add_explicit(&count, 1, memory_order_release);
    os_wake(&count, INT_MAX);
}

PyThread_ident_t own_next_end(void)
{
    /* Those taken from the queue that are not told yet. Only one goroutine calls this. */
    static struct end *taken;
    while (taken == NULL) {
        /* The count before the queue: an end that comes after this look changes the count. */
        unsigned seen = atomic_load_explicit(&count, memory_order_acquire);
        taken = atomic_exchange_explicit(&ends, NULL, memory_order_acquire);
        if (taken == NULL) {
            os_wait(&count, seen, OS_NO_DEADLINE);
        }
    }
    struct end *end = taken;
    PyThread_ident_t ident = end->ident;
    taken = end->next;
    free(end);
    return ident;
}

static void finish(struct end *end)
{
    if (end->ident == 0) {
        free(end);
    } else if (go_is_here()) {
        put(end);
    } else {
        plain_end(end->ident);
        free(end);
    }
}

/* The destructor of the key. The system calls it in rounds while its value is not NULL, among the
   program's destructors in any order: so the end is in the last round. */
static void os_thread_ends(void *value)
{
    struct end *end = value;
    if (++end->round >= PTHREAD_DESTRUCTOR_ITERATIONS || pthread_setspecific(key, end) != 0) {
        finish(end);
        if (own_main_ends != NULL && os_thread_id() == (unsigned long)getpid()) {
            own_main_ends();
        }
    }
}

/* Before constructors that watch the main thread. */
__attribute__((constructor(102))) static void at_load(void)
{
    has_key = pthread_key_create(&key, os_thread_ends) == 0;
}

static bool watch(struct end *end)
{
    return has_key && pthread_setspecific(key, end) == 0;
}

bool own_watch_end(PyThread_ident_t ident)
{
    struct end *end = calloc(1, sizeof *end);
    if (end == NULL) {
        return false;
    }
    end->ident = ident;
    if (!watch(end)) {
        free(end);
        return false;
    }
    return true;
}

static void func_ends(void *end)
{
    finish(end);
}

void own_watch_main(void)
{
    if (has_key && pthread_getspecific(key) == NULL) {
        own_watch_end(0);
    }
}

static void *run(void *arg)
{
    struct end *end = arg;
    thread_become(end->ident);
    if (watch(end)) {
        end->func(end->arg);
    } else {
        pthread_cleanup_push(func_ends, end);
        end->func(end->arg);
        pthread_cleanup_pop(1);
    }
    return NULL;
}

bool own_start(thread_func func, void *arg, PyThread_ident_t ident)
{
    pthread_attr_t detached;
    pthread_t os_thread;
    struct end *end = calloc(1, sizeof *end);
    if (end == NULL) {
        return false;
    }
    end->ident = ident;
    end->func = func;
    end->arg = arg;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    bool started = own_pthread_create(&os_thread, &detached, run, end) == 0;
    pthread_attr_destroy(&detached);
    if (!started) {
        free(end);
    }
    return started;
}
