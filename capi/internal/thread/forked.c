/*
 * forked.c - threads on plain pthreads, for a process that must not enter Go: the child of a fork,
 * in which the Go runtime has no threads.
 *
 * Few processes use it, so it is one list under one mutex. The users of a record are the thread
 * until it has ended, the handle until it is spent, and each join. Invariant: a record is in the
 * list while it has users, and the last one frees it.
 *
 * Callers: info.c, own_os_thread.c, thread.c, thread.go, trampoline.c.
 */
#define _GNU_SOURCE
#include "forked.h"

#include "ends.h"
#include "go.h"
#include "sync/identity.h"
#include "sync/status.h"
#include "system/fork.h"
#include "system/os_thread.h"
#include "system/stack.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct thread {
    struct thread *next;
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
    struct thread *joins;
};

/* Guards the variables below, except forked_newest_ident. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
/* Signals that a thread has ended, and that its OS thread has ended. */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct thread *first;

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

/* The caller has the mutex. The same holds for add, drop, find_handle, joins_self and wait_for. */
static struct thread *find(PyThread_ident_t ident)
{
    struct thread *thread = first;
    while (thread != NULL && thread->ident != ident) {
        thread = thread->next;
    }
    return thread;
}

static struct thread *add(PyThread_ident_t ident, bool joinable)
{
    struct thread *thread = calloc(1, sizeof *thread);
    if (thread != NULL) {
        thread->ident = ident;
        thread->spent = !joinable;
        thread->users = joinable ? 2 : 1;
        thread->next = first;
        first = thread;
    }
    return thread;
}

static void drop(struct thread *thread)
{
    if (--thread->users == 0) {
        struct thread **place = &first;
        while (*place != thread) {
            place = &(*place)->next;
        }
        *place = thread->next;
        free(thread);
    }
}

void forked_end(PyThread_ident_t ident)
{
    status_end();
    pthread_mutex_lock(&mutex);
    struct thread *thread = find(ident);
    if (thread != NULL) {
        thread->ended = true;
        pthread_cond_broadcast(&changed);
        drop(thread);
    }
    pthread_mutex_unlock(&mutex);
}

static void end(void *ident)
{
    forked_end(*(PyThread_ident_t *)ident);
}

static void *run(void *arg)
{
    struct thread *thread = arg;
    PyThread_ident_t ident = thread->ident;
    status_become(ident);
    pthread_cleanup_push(end, &ident);
    thread->func(thread->arg);
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
    struct thread *thread =
        add(atomic_fetch_add_explicit(&forked_newest_ident, 1, memory_order_relaxed) + 1, joinable);
    if (thread != NULL) {
        thread->func = func;
        thread->arg = arg;
        if (os_thread_create(&thread->os_thread, &attr, run, thread) == 0) {
            ident = thread->ident;
        } else {
            thread->users = 1;
            drop(thread);
        }
    }
    pthread_mutex_unlock(&mutex);
    pthread_attr_destroy(&attr);
    return ident;
}

/* Finds the thread of a handle that is not spent. Returns 0, EINVAL or ESRCH. */
static int find_handle(PyThread_handle_t handle, struct thread **thread)
{
    *thread = find(handle);
    if (*thread != NULL && !(*thread)->spent) {
        return 0;
    }
    return *thread != NULL ||
                   (handle > parents_newest &&
                    handle <= atomic_load_explicit(&forked_newest_ident, memory_order_relaxed))
               ? EINVAL
               : ESRCH;
}

/* True if `joiner` would wait for itself, directly or through other threads. */
static bool joins_self(const struct thread *thread, const struct thread *joiner)
{
    while (thread != NULL && thread != joiner) {
        thread = thread->joins;
    }
    return joiner != NULL && thread == joiner;
}

/* Waits until the thread has ended and, unless its handle is spent by then, its OS thread too. */
static void wait_for(struct thread *thread)
{
    while (!thread->ended) {
        pthread_cond_wait(&changed, &mutex);
    }
    if (!thread->spent) {
        thread->spent = true;
        thread->users--;
        if (thread->func != NULL) {
            thread->joining = true;
            pthread_mutex_unlock(&mutex);
            pthread_join(thread->os_thread, NULL);
            pthread_mutex_lock(&mutex);
            thread->joining = false;
            pthread_cond_broadcast(&changed);
        }
    }
    while (thread->joining) {
        pthread_cond_wait(&changed, &mutex);
    }
}

int forked_join(PyThread_handle_t handle, PyThread_ident_t joiner_ident)
{
    struct thread *thread;
    pthread_mutex_lock(&mutex);
    int error = find_handle(handle, &thread);
    if (error == 0) {
        struct thread *joiner = joiner_ident != 0 ? find(joiner_ident) : NULL;
        if (joins_self(thread, joiner)) {
            error = EDEADLK;
        } else {
            thread->users++;
            if (joiner != NULL) {
                joiner->joins = thread;
            }
            wait_for(thread);
            if (joiner != NULL) {
                joiner->joins = NULL;
            }
            drop(thread);
        }
    }
    pthread_mutex_unlock(&mutex);
    return error;
}

int forked_detach(PyThread_handle_t handle)
{
    struct thread *thread;
    pthread_mutex_lock(&mutex);
    int error = find_handle(handle, &thread);
    if (error == 0) {
        thread->spent = true;
        if (thread->func != NULL) {
            pthread_detach(thread->os_thread);
        }
        drop(thread);
    }
    pthread_mutex_unlock(&mutex);
    return error;
}

void forked_count(size_t *threads, size_t *handles)
{
    pthread_mutex_lock(&mutex);
    for (struct thread *thread = first; thread != NULL; thread = thread->next) {
        *threads += !thread->ended;
        *handles += !thread->spent;
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
    ends_begin_in_child();
    go_was_refused(); /* ends a wait for the parent's Go */
    parents_newest = atomic_load_explicit(&forked_newest_ident, memory_order_relaxed);
}

#ifndef _WIN32 /* Where processes do not fork. */

static void survive(void)
{
    if (go_is_lost() && identity_self() != 0) {
        pthread_mutex_lock(&mutex);
        add(identity_self(), true);
        pthread_mutex_unlock(&mutex);
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
