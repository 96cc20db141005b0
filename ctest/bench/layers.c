// The go command, which builds main.go in this directory, must ignore this file.
// clang-format off
//go:build ignore
// clang-format on

/*
 * layers.c - the thread layers, and parts of other layers that are measured too. A process loads at
 * most one library, so that no layer calls the functions of another. Invariant: a function here
 * costs only one call more than the function that it calls.
 */
#define _GNU_SOURCE
#include "layers.h"

#include <dlfcn.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef HAVE_NSYNC
#include <nsync_mu.h>
#endif

void fail(const char *what)
{
    fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

/* ------------------------------------------------------------------------ pthreads */

struct call {
    void (*func)(void *);
    void *arg;
};

static void *call(void *arg)
{
    struct call call = *(struct call *)arg;
    free(arg);
    call.func(call.arg);
    return NULL;
}

static int pthreads_start(void (*func)(void *), void *arg, PyThread_ident_t *ident,
                          PyThread_handle_t *handle)
{
    pthread_t thread;
    struct call *made = malloc(sizeof *made);
    if (made == NULL) {
        return -1;
    }
    *made = (struct call){func, arg};
    if (pthread_create(&thread, NULL, call, made) != 0) {
        free(made);
        return -1;
    }
    *ident = *handle = (uintptr_t)thread;
    return 0;
}

static int pthreads_join(PyThread_handle_t handle)
{
    return pthread_join((pthread_t)handle, NULL);
}

static void *mutex_allocate(void)
{
    pthread_mutex_t *mutex = malloc(sizeof *mutex);
    if (mutex != NULL) {
        pthread_mutex_init(mutex, NULL);
    }
    return mutex;
}

static int mutex_acquire(void *mutex, int wait)
{
    (void)wait;
    return pthread_mutex_lock(mutex) == 0;
}

static void mutex_release(void *mutex)
{
    pthread_mutex_unlock(mutex);
}

/* ------------------------------------------------------------------------ single locks */

static void *semaphore_allocate(void)
{
    sem_t *semaphore = malloc(sizeof *semaphore);
    if (semaphore != NULL) {
        sem_init(semaphore, 0, 1);
    }
    return semaphore;
}

#ifdef HAVE_NSYNC

static void *nsync_allocate(void)
{
    return calloc(1, sizeof(nsync_mu));
}

static int nsync_acquire(void *mu, int wait)
{
    (void)wait;
    nsync_mu_lock(mu);
    return 1;
}

static void nsync_release(void *mu)
{
    nsync_mu_unlock(mu);
}

#endif

/* CPython's PyMutex, a byte. Its functions work without a thread state, which they would only
   detach during a wait. As in Python.h, they are called only if the lock is held or has waiters. */
static void (*pymutex_lock)(void *), (*pymutex_unlock)(void *);

static void *pymutex_allocate(void)
{
    return calloc(1, 1);
}

static bool pymutex_change(void *mutex, unsigned char from, unsigned char to)
{
    return atomic_compare_exchange_strong((_Atomic unsigned char *)mutex, &from, to);
}

static int pymutex_acquire(void *mutex, int wait)
{
    (void)wait;
    if (!pymutex_change(mutex, 0, 1)) {
        pymutex_lock(mutex);
    }
    return 1;
}

static void pymutex_release(void *mutex)
{
    if (!pymutex_change(mutex, 1, 0)) {
        pymutex_unlock(mutex);
    }
}

/* ------------------------------------------------------------------------ libraries */

/* Sets *member, a function pointer, to the library's own function with that name. */
static void find_symbol(void *library, const char *symbol, void *member)
{
    void *found = dlsym(library, symbol);
    if (found == NULL) {
        fail(dlerror());
    }
    if (dlsym(RTLD_DEFAULT, symbol) != NULL) {
        fail("the process has a thread layer already: unset LD_PRELOAD");
    }
    memcpy(member, &found, sizeof found);
}

static void *open_library(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fail(dlerror());
    }
    return library;
}

static struct layer load_pythread(const char *path)
{
    struct layer layer;
    void *library = open_library(path);
    find_symbol(library, "PyThread_start_joinable_thread", &layer.start);
    find_symbol(library, "PyThread_join_thread", &layer.join);
    find_symbol(library, "PyThread_allocate_lock", &layer.allocate_lock);
    find_symbol(library, "PyThread_free_lock", &layer.free_lock);
    find_symbol(library, "PyThread_acquire_lock", &layer.acquire_lock);
    find_symbol(library, "PyThread_release_lock", &layer.release_lock);
    find_symbol(library, "PyThread_tss_create", &layer.tss_create);
    find_symbol(library, "PyThread_tss_delete", &layer.tss_delete);
    find_symbol(library, "PyThread_tss_set", &layer.tss_set);
    find_symbol(library, "PyThread_tss_get", &layer.tss_get);
    find_symbol(library, "PyThread_get_thread_ident", &layer.ident);
    find_symbol(library, "PyThread_get_thread_native_id", &layer.native_id);
    return layer;
}

static struct layer load_pymutex(const char *path)
{
    void *library = open_library(path);
    find_symbol(library, "PyMutex_Lock", &pymutex_lock);
    find_symbol(library, "PyMutex_Unlock", &pymutex_unlock);
    return (struct layer){.allocate_lock = pymutex_allocate,
                          .free_lock = free,
                          .acquire_lock = pymutex_acquire,
                          .release_lock = pymutex_release};
}

/* The cost of start and join in Go: an almost empty Go library (empty/main.go), whose goroutines
   have no ident and run no C code. */
static void (*empty_start)(void), (*empty_join)(void);

static int bare_start(void (*func)(void *), void *arg, PyThread_ident_t *ident,
                      PyThread_handle_t *handle)
{
    (void)func, (void)arg;
    *ident = *handle = 0;
    empty_start();
    return 0;
}

static int bare_join(PyThread_handle_t handle)
{
    (void)handle;
    empty_join();
    return 0;
}

static struct layer load_empty(const char *path)
{
    void *library = open_library(path);
    find_symbol(library, "empty_start", &empty_start);
    find_symbol(library, "empty_join", &empty_join);
    return (struct layer){.start = bare_start, .join = bare_join};
}

/* ------------------------------------------------------------------------ all of them */

/* Each layer has functions, or a function that loads them from a library. */
static const struct {
    const char *name;
    struct layer layer;
    struct layer (*load)(const char *library);
} layers[] = {
    {.name = "PyThread", .load = load_pythread},
    {.name = "PyMutex", .load = load_pymutex},
    {.name = "empty Go library", .load = load_empty},
    {.name = "pthreads",
     .layer = {.start = pthreads_start,
               .join = pthreads_join,
               .allocate_lock = mutex_allocate,
               .free_lock = free,
               .acquire_lock = mutex_acquire,
               .release_lock = mutex_release}},
    {.name = "sem_t", .layer = {.allocate_lock = semaphore_allocate, .free_lock = free}},
    {.name = "two exchanges"},
#ifdef HAVE_NSYNC
    {.name = "nsync_mu",
     .layer = {.allocate_lock = nsync_allocate,
               .free_lock = free,
               .acquire_lock = nsync_acquire,
               .release_lock = nsync_release}},
#endif
};

struct layer layer_named(const char *name, const char *library)
{
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        if (strcmp(name, layers[i].name) == 0) {
            return layers[i].load != NULL ? layers[i].load(library) : layers[i].layer;
        }
    }
    fail("this program was built without that layer");
}
