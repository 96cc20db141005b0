/*
 * own_os_thread.c - OS threads that end with their thread: pthreads that are made for one thread,
 * and OS threads of Go that a thread has left unfit for the next thread.
 *
 * When an OS thread ends, destructors run, and a join must return after them. An OS thread that
 * ends must not enter Go. So it puts its end into a queue, from which Go takes it on another OS
 * thread. Invariant: every OS thread that is started or watched here puts its end into the queue
 * once, after the last destructor of the program.
 *
 * Callers: go_threads.c, info.c, main_thread.c, thread.c, thread.go, trampoline.c, visit.c.
 */
#define _GNU_SOURCE
#include "own_os_thread.h"

#include "clean.h"
#include "ends.h"
#include "forked.h"
#include "go.h"
#include "reuse.h"
#include "sync/status.h"
#include "sync/tss.h"
#include "system/os.h"
#include "system/os_thread.h"
#include "system/stack.h"
#include "system/tsan.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

static bool create_detached(void *(*func)(void *), void *arg, size_t stack_size)
{
    pthread_t os_thread;
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    stack_set_size(&detached, stack_size);
    int error = os_thread_create(&os_thread, &detached, func, arg);
    pthread_attr_destroy(&detached);
    return error == 0;
}

struct end {
    struct end *next;
    PyThread_ident_t ident;
    unsigned round;
    /* The signal mask for destructors, if Go ends the OS thread: Go first blocks all signals. */
    bool has_mask;
    os_signals mask;
    /* The function of a pthread that has not started yet. */
    thread_func func;
    void *arg;
};

/* The ends that Go has not taken, the newest first. */
static _Atomic(struct end *) ends;
/* Counts the ends that own_wait_for_ends must see. */
static atomic_uint untold;

void (*own_main_ends)(void);

static pthread_key_t key;
static bool has_key;

/* Puts the end into the queue. A join that waits takes it. If none waits, the goroutine in
   own_wait_for_ends does. */
static void put(struct end *end)
{
    PyThread_ident_t ident = end->ident;
    /* Sequentially consistent, as ends_count, ends_wait and own_take_ends are. A join that
       ends_count sees takes the ends after its wait, so it finds this end. */
    struct end *newest = atomic_load_explicit(&ends, memory_order_relaxed);
    do {
        end->next = newest;
    } while (!atomic_compare_exchange_weak_explicit(&ends, &newest, end, memory_order_seq_cst,
                                                    memory_order_relaxed));
    if (!ends_count(ident)) {
        atomic_fetch_add_explicit(&untold, 1, memory_order_release);
        os_wake(&untold, INT_MAX);
    }
}

struct errand {
    void (*function)(void *);
    void *arg;
    PyThread_ident_t ident;
    /* 1 when the function has returned. */
    atomic_uint done;
};

static void *run_errand(void *arg)
{
    struct errand *errand = arg;
    identity_act_for(errand->ident);
    errand->function(errand->arg);
    identity_act_for(0);
    tsan_release(errand);
    atomic_store_explicit(&errand->done, 1, memory_order_release);
    os_wake(&errand->done, 1);
    return NULL;
}

bool own_run_elsewhere(void (*function)(void *), void *arg)
{
    struct errand errand = {.function = function, .arg = arg, .ident = identity_self()};
    /* The pthread must take no signals of the program. */
    os_signals mask = os_block_signals();
    bool is_created = create_detached(run_errand, &errand, 0);
    os_unblock_signals(mask);
    if (!is_created) {
        return false;
    }
    /* Acquire: what the function did happens before this returns. */
    while (atomic_load_explicit(&errand.done, memory_order_acquire) == 0) {
        os_wait(&errand.done, 0, OS_NO_DEADLINE);
    }
    tsan_acquire(&errand);
    return true;
}

void own_ask_elsewhere(void (*function)(void *), void *arg)
{
    while (!own_run_elsewhere(function, arg)) {
        /* No OS thread is left. There will be one when another ends. */
        os_sleep(OS_MILLISECOND);
    }
}

void own_wait_for_ends(void)
{
    /* Loads the number before the list. An end that comes after this load changes the number. */
    unsigned seen = atomic_load_explicit(&untold, memory_order_acquire);
    while (atomic_load_explicit(&ends, memory_order_acquire) == NULL) {
        os_wait(&untold, seen, OS_NO_DEADLINE);
        seen = atomic_load_explicit(&untold, memory_order_acquire);
    }
}

struct end *own_take_ends(void)
{
    /* Acquire too: what the threads did happens before a join returns. */
    return atomic_exchange_explicit(&ends, NULL, memory_order_seq_cst);
}

PyThread_ident_t own_pop_end(struct end **taken)
{
    struct end *end = *taken;
    PyThread_ident_t ident = end->ident;
    tsan_acquire(&ends);
    *taken = end->next;
    free(end);
    return ident;
}

/* Tells ThreadSanitizer what the thread has done so far. ThreadSanitizer no longer knows the thread
   in the last round of destructors. */
static void tell_of_end(const struct end *end)
{
    tsan_release(tsan_end_mark(end->ident));
    tsan_release(&ends);
}

static void finish(struct end *end)
{
    status_end();
    if (end->ident == 0) {
        free(end);
    } else if (go_is_here()) {
        /* After the join no handler of the program may run here. */
        os_block_signals();
        put(end);
    } else {
        forked_end(end->ident);
        free(end);
    }
}

static void restore_mask(struct end *end)
{
    if (end->has_mask) {
        end->has_mask = false;
        os_unblock_signals(end->mask);
    }
}

void own_begin_destructors(void)
{
    struct end *end = has_key ? pthread_getspecific(key) : NULL;
    if (end != NULL) {
        restore_mask(end);
    }
}

/* The destructor of the key. The system calls it in each round of destructors in which the key has
   a value, before or after the program's destructors. So the end is reported in the last round. */
static void os_thread_ends(void *value)
{
    struct end *end = value;
    restore_mask(end);
    if (end->round + 1 < PTHREAD_DESTRUCTOR_ITERATIONS) {
        tell_of_end(end);
    }
    if (end->round + 2 >= PTHREAD_DESTRUCTOR_ITERATIONS) {
        /* After a later call of Go, Go's own destructor might not run any more. It takes back what
           Go has given the OS thread. */
        go_leaves_os_thread();
    }
    if (++end->round >= PTHREAD_DESTRUCTOR_ITERATIONS || pthread_setspecific(key, end) != 0) {
        finish(end);
        if (own_main_ends != NULL && os_is_main_thread()) {
            own_main_ends();
        }
    }
}

/* Runs before the constructor that watches the main thread. */
__attribute__((constructor(102))) static void at_load(void)
{
    has_key = pthread_key_create(&key, os_thread_ends) == 0;
}

static bool watch(struct end *end)
{
    return has_key && pthread_setspecific(key, end) == 0;
}

/* Makes a record of the calling OS thread's end, and watches for the end. NULL if no memory or key
   is left. */
static struct end *watched_end(PyThread_ident_t ident)
{
    struct end *end = calloc(1, sizeof *end);
    if (end != NULL) {
        end->ident = ident;
        if (watch(end)) {
            return end;
        }
        free(end);
    }
    return NULL;
}

bool own_watch_end(PyThread_ident_t ident, os_signals mask)
{
    struct end *end = watched_end(ident);
    if (end == NULL) {
        return false;
    }
    end->mask = mask;
    end->has_mask = true;
    /* When Go ends the OS thread, destructors run on it, which may call the library. */
    go_leaves_os_thread();
    return true;
}

static void func_ends(void *end)
{
    tell_of_end(end);
    finish(end);
}

void own_watch_caller(void)
{
    if (has_key && pthread_getspecific(key) == NULL) {
        watched_end(0);
    }
}

static void *run(void *arg)
{
    struct end *end = arg;
    struct clean_mark mark = {0};
    status_become(end->ident);
    bool is_watched = watch(end);
    /* Some allocators set a key at the first call on an OS thread. So the first call comes before
       clean_begin. Volatile, because the compiler would remove both calls. */
    void *volatile block = malloc(1);
    free(block);
    clean_begin(&mark);
    if (is_watched) {
        end->func(end->arg);
    } else {
        pthread_cleanup_push(func_ends, end);
        end->func(end->arg);
        pthread_cleanup_pop(1);
    }
    reuse_note_end(clean_is_clean(&mark, tss_key_value()));
    return NULL;
}

bool own_start(thread_func func, void *arg, PyThread_ident_t ident)
{
    struct end *end = calloc(1, sizeof *end);
    if (end == NULL) {
        return false;
    }
    end->ident = ident;
    end->func = func;
    end->arg = arg;
    bool started = create_detached(run, end, stack_size());
    if (!started) {
        free(end);
    }
    return started;
}
