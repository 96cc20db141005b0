/*
 * forked.c - threads on plain pthreads, for a process that must not enter Go: the child of a fork,
 * in which the Go runtime has no threads.
 *
 * Few processes use it, so it is one list under one mutex. The users of a record are the thread
 * until it has ended, the handle until it is spent, and each join. Invariant: a record is in the
 * list while it has users, and the last one frees it.
 */
#define _GNU_SOURCE
#include "forked.h"

#include "go.h"
#include "sync/identity.h"
#include "sync/status.h"
#include "system/fork.h"
#include "system/os.h"
#include "system/os_thread.h"
#include "system/stack.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct plain {
    struct plain *next;
    PyThread_ident_t ident;
    thread_func func;
    void *arg;
    /* Unset for the thread that forked this process: its OS thread is Go's and cannot be joined. */
    pthread_t os_thread;
    bool ended;
    bool spent;
    /* A join waits for the end of the OS thread. */
    bool joining;
    /* How many users the record has: the thread, the handle, each join. */
    unsigned users;
    /* The thread that this thread waits to join. */
    struct plain *joins;
};

/* Guards the variables below, except forked_newest_ident. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
/* Signals that a thread has ended, and that its OS thread has ended. */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct plain *first;

/* On 32-bit processors Go's atomics need this alignment. */
_Alignas(8) atomic_ullong forked_newest_ident;
/* The newest ident of the parent. The idents up to it are not handles of this process. */
static PyThread_ident_t parents_newest;

void forked_count_from(PyThread_ident_t ident)
{
    /* Relaxed: the number publishes no other memory. */
    unsigned long long newest = atomic_load_explicit(&forked_newest_ident, memory_order_relaxed);
    while (newest < ident &&
           !atomic_compare_exchange_weak_explicit(&forked_newest_ident, &newest, ident,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

/* The caller has the mutex, as for all static functions here. */
static struct plain *find(PyThread_ident_t ident)
{
    struct plain *plain = first;
    while (plain != NULL && plain->ident != ident) {
        plain = plain->next;
    }
    return plain;
}

static struct plain *add(PyThread_ident_t ident, bool joinable)
{
    struct plain *plain = calloc(1, sizeof *plain);
    if (plain != NULL) {
        plain->ident = ident;
        plain->spent = !joinable;
        plain->users = joinable ? 2 : 1;
        plain->next = first;
        first = plain;
    }
    return plain;
}

static void drop(struct plain *plain)
{
    if (--plain->users == 0) {
        struct plain **place = &first;
        while (*place != plain) {
            place = &(*place)->next;
        }
        *place = plain->next;
        free(plain);
    }
}

void forked_end(PyThread_ident_t ident)
{
    status_end();
    pthread_mutex_lock(&mutex);
    struct plain *plain = find(ident);
    if (plain != NULL) {
        plain->ended = true;
        pthread_cond_broadcast(&changed);
        drop(plain);
    }
    pthread_mutex_unlock(&mutex);
}

static void end(void *ident)
{
    forked_end(*(PyThread_ident_t *)ident);
}

static void *run(void *arg)
{
    struct plain *plain = arg;
    PyThread_ident_t ident = plain->ident;
    status_become(ident);
    pthread_cleanup_push(end, &ident);
    plain->func(plain->arg);
    pthread_cleanup_pop(1);
    return NULL;
}

PyThread_ident_t forked_start(thread_func func, void *arg, bool joinable)
{
    pthread_attr_t attr;
    PyThread_ident_t ident = 0;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr,
                                joinable ? PTHREAD_CREATE_JOINABLE : PTHREAD_CREATE_DETACHED);
    stack_set_size(&attr, stack_size());
    pthread_mutex_lock(&mutex);
    struct plain *plain =
        add(atomic_fetch_add_explicit(&forked_newest_ident, 1, memory_order_relaxed) + 1, joinable);
    if (plain != NULL) {
        plain->func = func;
        plain->arg = arg;
        if (os_thread_create(&plain->os_thread, &attr, run, plain) == 0) {
            ident = plain->ident;
        } else {
            plain->users = 1;
            drop(plain);
        }
    }
    pthread_mutex_unlock(&mutex);
    pthread_attr_destroy(&attr);
    return ident;
}

/* Finds the thread of a handle that is not spent. Returns 0, EINVAL or ESRCH. */
static int find_handle(PyThread_handle_t handle, struct plain **plain)
{
    *plain = find(handle);
    if (*plain != NULL && !(*plain)->spent) {
        return 0;
    }
    return *plain != NULL ||
                   (handle > parents_newest &&
                    handle <= atomic_load_explicit(&forked_newest_ident, memory_order_relaxed))
               ? EINVAL
               : ESRCH;
}

/* True if `joiner` would wait for itself, directly or through other threads. */
static bool joins_self(const struct plain *plain, const struct plain *joiner)
{
    while (plain != NULL && plain != joiner) {
        plain = plain->joins;
    }
    return joiner != NULL && plain == joiner;
}

/* Waits until the thread has ended and, unless its handle is spent by then, its OS thread too. */
static void wait_for(struct plain *plain)
{
    while (!plain->ended) {
        pthread_cond_wait(&changed, &mutex);
    }
    if (!plain->spent) {
        plain->spent = true;
        plain->users--;
        if (plain->func != NULL) {
            plain->joining = true;
            pthread_mutex_unlock(&mutex);
            pthread_join(plain->os_thread, NULL);
            pthread_mutex_lock(&mutex);
            plain->joining = false;
            pthread_cond_broadcast(&changed);
        }
    }
    while (plain->joining) {
        pthread_cond_wait(&changed, &mutex);
    }
}

int forked_join(PyThread_handle_t handle, PyThread_ident_t joiner_ident)
{
    struct plain *plain;
    pthread_mutex_lock(&mutex);
    int error = find_handle(handle, &plain);
    if (error == 0) {
        struct plain *joiner = joiner_ident != 0 ? find(joiner_ident) : NULL;
        if (joins_self(plain, joiner)) {
            error = EDEADLK;
        } else {
            plain->users++;
            if (joiner != NULL) {
                joiner->joins = plain;
            }
            wait_for(plain);
            if (joiner != NULL) {
                joiner->joins = NULL;
            }
            drop(plain);
        }
    }
    pthread_mutex_unlock(&mutex);
    return error;
}

int forked_detach(PyThread_handle_t handle)
{
    struct plain *plain;
    pthread_mutex_lock(&mutex);
    int error = find_handle(handle, &plain);
    if (error == 0) {
        plain->spent = true;
        if (plain->func != NULL) {
            pthread_detach(plain->os_thread);
        }
        drop(plain);
    }
    pthread_mutex_unlock(&mutex);
    return error;
}

void forked_count(size_t *threads, size_t *handles)
{
    pthread_mutex_lock(&mutex);
    for (struct plain *plain = first; plain != NULL; plain = plain->next) {
        *threads += !plain->ended;
        *handles += !plain->spent;
    }
    pthread_mutex_unlock(&mutex);
}

/*
 * The Go runtime calls this when an OS thread of the program ends that has called Go. In the child
 * of a fork the call may hang. If the pointer is NULL, the runtime makes no call.
 */
extern __attribute__((weak)) void (*x_crosscall2_ptr)(void (*)(void *), void *, int, size_t);

/* Forgets the records, which belong to the parent. They are leaked: a thread may have held one half
   changed. */
static void begin_in_child(void)
{
    mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    changed = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    first = NULL;
    if (&x_crosscall2_ptr != NULL) {
        x_crosscall2_ptr = NULL;
    }
    status_forget_all();
    parents_newest = atomic_load_explicit(&forked_newest_ident, memory_order_relaxed);
}

static void add_survivor(PyThread_ident_t ident)
{
    pthread_mutex_lock(&mutex);
    add(ident, true);
    pthread_mutex_unlock(&mutex);
}

#ifndef _WIN32 /* Where processes do not fork. */

static void survive(void)
{
    if (go_is_lost() && identity_self() != 0) {
        add_survivor(identity_self());
    }
    status_survive();
}

#endif

__attribute__((constructor)) static void at_load(void)
{
    fork_on_child(begin_in_child);
#ifndef _WIN32
    pthread_atfork(NULL, NULL, survive);
#endif
}
