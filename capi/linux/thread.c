/*
 * thread.c - what a thread is to the program: how it begins and ends on the OS
 * thread that it runs on, who it says it is, and how others wait for it.
 *
 * Invariant: `self` is the thread that the calling OS thread is at the moment,
 * and while it is set, all that a thread may change on its OS thread is that
 * thread's own; when the next one begins there nothing of it is left.
 */
#define _GNU_SOURCE
#include "handle.h"

#include "carrier.h"
#include "fork.h"
#include "os.h"
#include "reserve.h"
#include "tss.h"

#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* NULL and 0 on an OS thread that is none of ours at the moment. */
THREAD_LOCAL struct thread *self;
THREAD_LOCAL PyThread_ident_t self_ident;
/* The thread before on this OS thread blocked signals, which may be pending for it still. */
THREAD_LOCAL bool blocked_signals;
/* Where a thread goes when it exits, as long as it is in its function. */
THREAD_LOCAL jmp_buf exit_to;
THREAD_LOCAL bool in_func;

/*
 * Its destructor runs when an OS thread ends; its value counts the rounds of destructors. It is
 * not there where the process has no key left.
 */
static pthread_key_t end_key;
static bool has_end_key;
/* Whether that will be so on the calling OS thread. */
THREAD_LOCAL bool watched;
/* The name that the program was loaded under. */
static char program_name[OS_NAME_SIZE];

/* Ends the calling thread, and says so to who joins it. */
static void thread_end(struct thread *thread)
{
    tss_thread_end();
    self = NULL;
    self_ident = 0;
    /* Release: all that the thread did happens before its join returns. */
    if (atomic_exchange_explicit(&thread->state, THREAD_ENDED, memory_order_release) ==
        THREAD_AWAITED) {
        os_wake(&thread->state, INT_MAX);
    }
    thread_slot_leave(thread);
}

/*
 * Where main ends by pthread_exit, the process goes on until its last thread ends; but those of the
 * Go runtime, which others may start yet, do not end. So main stays until there are no others.
 */
static void main_ends(void)
{
    struct timespec pause = {0, 1000000};
    for (;;) {
        pythread_stats stats;
        size_t count = os_thread_count();
        pythread_get_stats(&stats);
        if (count == 0 && stats.os_threads == 0) {
            /* The system does not say; as long as there is no runtime it sees to the end itself. */
            return;
        }
        if (stats.threads == 0 && count == stats.os_threads + 1) {
            exit(0);
        }
        nanosleep(&pause, NULL);
        pause.tv_nsec = pause.tv_nsec < 64000000 ? pause.tv_nsec * 2 : pause.tv_nsec;
    }
}

/* The OS thread ends with a thread on it. */
static void end_with_os_thread(void)
{
    /* In the child of a fork there is no carrier. */
    if (!self->own_pthread &&
        atomic_load_explicit(&self->epoch, memory_order_relaxed) == fork_epoch()) {
        carrier_lost();
    }
    thread_end(self);
}

/*
 * The OS thread ends with a thread on it. One of its own: this is how it ends, in the last round of
 * destructors, so that the program's have run before the join returns. A carrier: the thread has
 * called pthread_exit, or was cancelled; joiners are released all the same. Or it is main's.
 */
static void os_thread_ends(void *round)
{
    bool is_main = os_thread_id() == (unsigned long)getpid();
    if (self == NULL && !is_main) {
        return;
    }
    if ((uintptr_t)round < PTHREAD_DESTRUCTOR_ITERATIONS &&
        pthread_setspecific(end_key, (char *)round + 1) == 0) {
        return;
    }
    if (self != NULL) {
        end_with_os_thread();
    }
    if (is_main) {
        main_ends();
    }
}

/* Has os_thread_ends run when the calling OS thread ends. */
static void watch_end(void)
{
    watched = has_end_key && pthread_setspecific(end_key, (void *)1) == 0;
}

/* Of the threads here the child of a fork has one at most, the one that forked. */
static void after_fork(void)
{
    if (self != NULL) {
        atomic_store_explicit(&self->epoch, fork_epoch(), memory_order_relaxed);
        /* Nor is there the carrier that it came from. */
        self->own_pthread = true;
    }
    /* It is the main one now. */
    watch_end();
}

__attribute__((constructor)) static void at_load(void)
{
    pthread_atfork(NULL, NULL, after_fork);
    os_get_name(program_name);
    has_end_key = pthread_key_create(&end_key, os_thread_ends) == 0;
    if (os_thread_id() == (unsigned long)getpid()) {
        watch_end();
    }
}

/* Takes from the OS thread what outlives a thread there and is not its storage. */
static void clean_os_thread(void)
{
    static const stack_t no_stack = {.ss_flags = SS_DISABLE};
    char name[OS_NAME_SIZE];
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
    /* A cancellation that came too late for the thread would hit the next one. */
    pthread_testcancel();
    uselocale(LC_GLOBAL_LOCALE);
    sigaltstack(&no_stack, NULL);
    os_get_name(name);
    if (memcmp(name, program_name, sizeof name) != 0) {
        os_set_name(program_name);
    }
}

/* Readies the calling OS thread for its first thread on a carrier. */
static void carrier_begins(void)
{
    THREAD_LOCAL bool known;
    if (!known) {
        known = true;
        clean_os_thread();
        watch_end();
    }
}

static void os_thread_begins_to_end(void *unused)
{
    (void)unused;
    in_func = false;
    if (!watched) {
        end_with_os_thread();
    }
}

/*
 * Runs the thread's function, which may not return. It may exit, past cleanup handlers, which the
 * C library knows by their frames: those since ours vanish when ours is taken out. Or its OS thread
 * may end, of which this handler is told where os_thread_ends is not.
 */
static void run_func(struct thread *thread)
{
    pthread_cleanup_push(os_thread_begins_to_end, NULL);
    in_func = true;
    if (_setjmp(exit_to) == 0) {
        thread->func(thread->arg);
    }
    in_func = false;
    pthread_cleanup_pop(0);
}

_Static_assert(offsetof(struct thread, work) == 0, "a carrier's work is the head of a thread");

/* On a carrier, on which all threads before have ended: is the thread until it ends. */
static void run_on_carrier(struct carrier_work *work)
{
    struct thread *thread = (struct thread *)work;
    carrier_begins();
    self = thread;
    self_ident = thread->ident;
    unsigned epoch = fork_epoch();
    os_set_float_mode(thread->float_mode);
    if (blocked_signals) {
        os_discard_signals();
    }
    os_set_signal_mask(thread->mask);
    errno = 0;
    run_func(thread);
    if (epoch != fork_epoch()) {
        /* It forked and came back in the child, where there is no carrier to return to. */
        pthread_exit(NULL);
    }
    /* First of all: after the join nobody expects a handler to run here, or on a signal stack that
       may be freed by then. */
    blocked_signals = os_set_signal_mask(OS_ALL_SIGNALS) != 0;
    clean_os_thread();
    thread_end(self);
}

static void *run_own(void *arg)
{
    self = arg;
    self_ident = self->ident;
    os_set_name(program_name);
    watch_end();
    run_func(self);
    if (!watched) {
        thread_end(self);
    }
    return NULL;
}

/* ------------------------------------------------------------------------ the API */

static atomic_int fresh_os_threads;

/* Starts a thread. Its ident, or 0; with handle NULL it is detached. */
static PyThread_ident_t start(void (*func)(void *), void *arg, PyThread_handle_t *handle)
{
    static atomic_ullong idents;
    pthread_t os_thread;
    struct thread *thread;
    int saved = errno;
    if (func == NULL || (thread = thread_slot_new(handle)) == NULL) {
        errno = saved;
        return 0;
    }
    PyThread_ident_t ident = atomic_fetch_add_explicit(&idents, 1, memory_order_relaxed) + 1;
    thread->ident = ident;
    thread->func = func;
    thread->arg = arg;
    thread->own_pthread = atomic_load_explicit(&fresh_os_threads, memory_order_relaxed) != 0;
    thread->float_mode = os_float_mode();
    thread->mask = os_signal_mask();
    thread->work.run = run_on_carrier;
    bool started = !thread->own_pthread && carrier_start(&thread->work);
    if (!started) {
        /* A pthread begins with its creator's mask and modes by itself. */
        thread->own_pthread = true;
        started = reserve_create(&os_thread, run_own, thread) == 0;
    }
    if (!started) {
        if (handle != NULL) {
            /* Used by the handle, which nobody knows, and by the thread: spend the one for it. */
            thread_slot_spend(thread);
        } else {
            thread_slot_leave(thread);
        }
        ident = 0;
    }
    errno = saved;
    return ident;
}

void PyThread_init_thread(void)
{
}

unsigned long PyThread_start_new_thread(void (*func)(void *), void *arg)
{
    PyThread_ident_t ident = start(func, arg, NULL);
    return ident == 0 ? PYTHREAD_INVALID_THREAD_ID : (unsigned long)ident;
}

int PyThread_start_joinable_thread(void (*func)(void *), void *arg, PyThread_ident_t *ident,
                                   PyThread_handle_t *handle)
{
    PyThread_handle_t started;
    PyThread_ident_t started_ident;
    if (ident == NULL || handle == NULL || (started_ident = start(func, arg, &started)) == 0) {
        return -1;
    }
    *ident = started_ident;
    *handle = started;
    return 0;
}

/* Whether the thread has ended. Acquire: then all that it did has happened. */
static bool ended(struct thread *thread)
{
    return atomic_load_explicit(&thread->state, memory_order_acquire) == THREAD_ENDED;
}

enum { SPIN_NS = 20000 };

/*
 * Spins until the thread has ended, for about as long as it takes to sleep and be woken: then the
 * spin costs at most as much again as the sleep, and most often saves it.
 */
static bool spin_ended(struct thread *thread)
{
    struct os_spin spin = os_spin_begin(SPIN_NS);
    while (!ended(thread)) {
        if (!os_spin(&spin)) {
            return false;
        }
    }
    return true;
}

static void sleep_until_ended(struct thread *thread)
{
    unsigned state = THREAD_RUNNING;
    /* The one who ends the thread wakes whom it finds THREAD_AWAITED, so that is said before
       sleeping. Acquire, as in ended(). */
    atomic_compare_exchange_strong_explicit(&thread->state, &state, THREAD_AWAITED,
                                            memory_order_acquire, memory_order_acquire);
    while (!ended(thread)) {
        os_wait(&thread->state, THREAD_AWAITED, OS_NO_DEADLINE);
    }
}

/*
 * Whether to wait for the handle would be to wait for ever: its thread waits, perhaps through
 * others, to join the caller. Every joiner first says what it waits for and then looks, both
 * sequentially consistent, so that of those who close a ring at once at least one sees it.
 */
static bool joins_self(PyThread_handle_t handle)
{
    struct thread *slot;
    bool found = false;
    while (!found && handle != 0 && thread_slot_enter(handle, &slot) == 0) {
        found = slot == self;
        handle = atomic_load(&slot->joining);
        thread_slot_leave(slot);
    }
    return found;
}

int PyThread_join_thread(PyThread_handle_t handle)
{
    struct thread *thread, *joiner = self;
    int error = thread_slot_enter(handle, &thread);
    if (error != 0) {
        return error;
    }
    if (thread == joiner) {
        thread_slot_leave(thread);
        return EDEADLK;
    }
    if (!spin_ended(thread)) {
        if (joiner != NULL) {
            atomic_store(&joiner->joining, handle);
        }
        if (joiner != NULL && joins_self(handle)) {
            error = EDEADLK;
        }
        if (error == 0) {
            sleep_until_ended(thread);
        }
        if (joiner != NULL) {
            atomic_store_explicit(&joiner->joining, 0, memory_order_relaxed);
        }
    }
    if (error == 0) {
        thread_slot_spend(thread);
    } else {
        thread_slot_leave(thread);
    }
    return error;
}

int PyThread_detach_thread(PyThread_handle_t handle)
{
    struct thread *thread;
    int error = thread_slot_enter(handle, &thread);
    return error != 0 ? error : thread_slot_spend(thread) ? 0 : EINVAL;
}

PyThread_ident_t PyThread_get_thread_ident_ex(void)
{
    PyThread_ident_t ident = self_ident;
    return ident != 0 ? ident : (PyThread_ident_t)pthread_self();
}

unsigned long PyThread_get_thread_ident(void)
{
    return (unsigned long)PyThread_get_thread_ident_ex();
}

unsigned long PyThread_get_thread_native_id(void)
{
    /* The kernel's number for this OS thread, and the process in which it was asked for. */
    THREAD_LOCAL unsigned long id;
    THREAD_LOCAL unsigned epoch;
    if (epoch != fork_epoch()) {
        epoch = fork_epoch();
        id = os_thread_id();
    }
    return id;
}

void PyThread_exit_thread(void)
{
    if (!in_func) {
        pthread_exit(NULL);
    }
    _longjmp(exit_to, 1);
}

void PyThread_hang_thread(void)
{
    for (;;) {
        pause();
    }
}

size_t PyThread_get_stacksize(void)
{
    return 0;
}

int PyThread_set_stacksize(size_t size)
{
    (void)size;
    return -2;
}

int pythread_set_fresh_os_threads(int on)
{
    return atomic_exchange_explicit(&fresh_os_threads, on != 0, memory_order_relaxed);
}

void pythread_get_stats(pythread_stats *stats)
{
    /* In the child of a fork the counts are the parent's until it is asked. */
    fork_epoch();
    *stats = (pythread_stats){
        .os_threads = (size_t)atomic_load_explicit(&reserve_os_threads, memory_order_relaxed),
        .goroutines = (size_t)atomic_load_explicit(&reserve_carriers, memory_order_relaxed),
    };
    thread_slots_count(&stats->threads, &stats->handles);
}

#define STRING_OF(token) #token
#define STRING(macro) STRING_OF(macro)

const char *pythread_version(void)
{
    return STRING(PYTHREAD_VERSION_MAJOR) "." STRING(PYTHREAD_VERSION_MINOR) "." STRING(
        PYTHREAD_VERSION_PATCH);
}
