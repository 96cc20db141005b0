/*
 * thread.c - a thread's life, and the API: how the thread begins and ends on its
 * OS thread, who it says it is, and how others wait for its end.
 *
 * Invariant: `self` is the thread that the calling OS thread is at the moment.
 * Signal mask, signal stack, modes of arithmetic, cancellation, locale, name and
 * storage of the OS thread are that thread's while it runs. Nothing of them is
 * left when the next thread begins on that OS thread.
 */
#define _GNU_SOURCE
#include "handle.h"

#include "carrier.h"
#include "fork.h"
#include "name.h"
#include "os.h"
#include "reserve.h"
#include "stack.h"
#include "status.h"
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

/* The thread that the calling OS thread is; NULL if it is none now. */
THREAD_LOCAL struct thread *self;
/* True if the last thread on this OS thread blocked signals: some may be pending for it still. */
THREAD_LOCAL bool blocked_signals;
/* Where a thread that exits continues. Valid while in_func, as long as its function runs. */
THREAD_LOCAL jmp_buf exit_to;
THREAD_LOCAL bool in_func;

/*
 * A key whose destructor runs when an OS thread ends, and whose value counts the rounds of
 * destructors. has_end_key is false where the process had no key left.
 */
static pthread_key_t end_key;
static bool has_end_key;
/* os_thread_ends will run on this OS thread. */
THREAD_LOCAL bool watched;
/* The name that the program had when the library was loaded. */
static char program_name[OS_NAME_SIZE];

/* Ends the calling thread, and wakes its joiners. */
static void thread_end(struct thread *thread)
{
    tss_thread_end();
    self = NULL;
    status_become(0);
    /* Release: all that the thread did happens before its join returns. */
    if (atomic_exchange_explicit(&thread->state, THREAD_ENDED, memory_order_release) ==
        THREAD_AWAITED) {
        os_wake(&thread->state, INT_MAX);
    }
    thread_slot_leave(thread);
}

/*
 * Called when main ends by pthread_exit. The process goes on then until its last thread ends; but
 * the Go runtime's OS threads do not end, nor do those that a later start makes. So main stays here
 * until there are no other OS threads than those, and ends the process.
 */
static void main_ends(void)
{
    struct timespec pause = {0, 1000000};
    for (;;) {
        pythread_stats stats;
        size_t count = os_thread_count();
        pythread_get_stats(&stats);
        if (count == 0 && stats.os_threads == 0) {
            /* The system does not tell the count. The library has no OS threads, so main may end.
             */
            return;
        }
        if (stats.threads == 0 && count == stats.os_threads + 1) {
            exit(0);
        }
        nanosleep(&pause, NULL);
        pause.tv_nsec = pause.tv_nsec < 64000000 ? pause.tv_nsec * 2 : pause.tv_nsec;
    }
}

/* Ends the calling thread, whose OS thread ends. */
static void end_with_os_thread(void)
{
    /* In the child of a fork there is no carrier. */
    if (!self->own_pthread &&
        atomic_load_explicit(&self->epoch, memory_order_relaxed) == fork_epoch()) {
        reserve_thread_exited();
    }
    thread_end(self);
}

/*
 * The destructor of end_key. A thread with a pthread of its own ends here, in the last round of
 * destructors: so the program's destructors have run before the join returns. A thread on a
 * carrier comes here if it called pthread_exit or was canceled; its joiners are released all the
 * same. Main comes here too.
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

/* Makes os_thread_ends run when the calling OS thread ends. */
static void watch_end(void)
{
    watched = has_end_key && pthread_setspecific(end_key, (void *)1) == 0;
}

/* The child of a fork has one thread of its parent's at most: the one that forked. */
static void after_fork(void)
{
    if (self != NULL) {
        atomic_store_explicit(&self->epoch, fork_epoch(), memory_order_relaxed);
        /* The carrier below it is not in the child. */
        self->own_pthread = true;
    }
    status_survive();
    /* Its OS thread is the main one now. */
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

/* Takes from the OS thread what a thread leaves there. thread_end takes the thread's storage. */
static void clean_os_thread(void)
{
    static const stack_t no_stack = {.ss_flags = SS_DISABLE};
    char name[OS_NAME_SIZE];
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
    /* A cancellation that came too late for the thread ends the OS thread here, before it could hit
       the next thread. */
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

/* The cleanup handler around a thread's function: pthread_exit or a cancellation calls it. */
static void os_thread_begins_to_end(void *unused)
{
    (void)unused;
    in_func = false;
    if (!watched) {
        end_with_os_thread();
    }
}

/*
 * Runs the thread's function, which can end in three ways. It returns. It exits, by a jump past the
 * cleanup handlers of its frames: the C library links handlers by their frames, so the pop below
 * takes all of these out of the list. Or its OS thread ends: where os_thread_ends will not run, the
 * cleanup handler here ends the thread.
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

/* Is the thread, on the calling carrier, until the thread has ended (carrier_work.run). */
static void run_on_carrier(struct carrier_work *work)
{
    struct thread *thread = (struct thread *)work;
    carrier_begins();
    self = thread;
    status_become(thread->ident);
    unsigned epoch = fork_epoch();
    os_set_float_mode(thread->float_mode);
    if (blocked_signals) {
        os_discard_signals();
    }
    os_set_signal_mask(thread->mask);
    errno = 0;
    run_func(thread);
    if (epoch != fork_epoch()) {
        /* The thread forked, and this is the child, where there is no carrier to return to. */
        pthread_exit(NULL);
    }
    /* Block signals first: after the join nobody expects a handler to run here, and the joiner may
       free the thread's signal stack. */
    blocked_signals = os_block_signals() != 0;
    clean_os_thread();
    thread_end(self);
}

static void *run_own(void *arg)
{
    self = arg;
    status_become(self->ident);
    os_set_name(program_name);
    watch_end();
    run_func(self);
    if (!watched) {
        thread_end(self);
    }
    return NULL;
}

/* ------------------------------------------------------------------------ the API */

static atomic_int reuse = PYTHREAD_REUSE_ALWAYS;

/* Starts a thread, detached if handle is NULL. Its ident, or 0 if it could not be started. */
static PyThread_ident_t start(void (*func)(void *), void *arg, PyThread_handle_t *handle)
{
    static atomic_ullong idents;
    pthread_t os_thread;
    struct thread *thread;
    int saved = errno;
    int64_t since = status_now();
    if (func == NULL || (thread = thread_slot_new(handle)) == NULL) {
        errno = saved;
        return 0;
    }
    PyThread_ident_t ident = atomic_fetch_add_explicit(&idents, 1, memory_order_relaxed) + 1;
    thread->ident = ident;
    thread->func = func;
    thread->arg = arg;
    thread->own_pthread =
        atomic_load_explicit(&reuse, memory_order_relaxed) == PYTHREAD_REUSE_NEVER ||
        stack_size() != 0;
    thread->float_mode = os_float_mode();
    thread->mask = os_signal_mask();
    thread->work.run = run_on_carrier;
    bool started = !thread->own_pthread && carrier_start(&thread->work);
    if (!started) {
        /* A new pthread has its creator's mask and modes of arithmetic without our help. */
        thread->own_pthread = true;
        started = reserve_create(&os_thread, run_own, thread, stack_size()) == 0;
    }
    if (!started) {
        if (handle != NULL) {
            /* The slot has two users: the handle, which nobody knows, and the thread. This ends
               both uses. */
            thread_slot_spend(thread);
        } else {
            thread_slot_leave(thread);
        }
        ident = 0;
    } else {
        status_started(ident, since);
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

/* True when the thread has ended. Acquire: pairs with thread_end, so all that it did has happened.
 */
static bool ended(struct thread *thread)
{
    return atomic_load_explicit(&thread->state, memory_order_acquire) == THREAD_ENDED;
}

enum { SPIN_NS = 20000 };

/*
 * Spins until the thread has ended, but only for about as long as it takes to sleep and be woken:
 * so the spin costs at most as much as the sleep, and most often saves it. True if the thread has
 * ended.
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
    /* The thread wakes its joiners only if it finds its state THREAD_AWAITED, so that is set before
       the sleep. Acquire, as in ended(). */
    atomic_compare_exchange_strong_explicit(&thread->state, &state, THREAD_AWAITED,
                                            memory_order_acquire, memory_order_acquire);
    while (!ended(thread)) {
        os_wait(&thread->state, THREAD_AWAITED, OS_NO_DEADLINE);
    }
}

/*
 * True if a join of the handle would wait for ever, since its thread waits, perhaps through others,
 * to join the caller. Every joiner first stores the handle that it waits for, and then reads those
 * of the others, both sequentially consistent: so of the joiners that close a ring at the same time
 * at least one sees the ring.
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
            struct status_wait before = status_wait(WAITS_FOR_THREAD, thread->ident);
            sleep_until_ended(thread);
            status_wait_ends(before);
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
    return status_caller();
}

unsigned long PyThread_get_thread_ident(void)
{
    return (unsigned long)status_caller();
}

unsigned long PyThread_get_thread_native_id(void)
{
    return status_native_id();
}

int pythread_set_name(const char *name)
{
    char kept[OS_NAME_SIZE];
    if (name == NULL) {
        return EINVAL;
    }
    name_copy(kept, name);
    os_set_name(kept);
    return 0;
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

int pythread_set_reuse(int mode)
{
    bool is_known = mode == PYTHREAD_REUSE_NEVER || mode == PYTHREAD_REUSE_ALWAYS;
    return is_known ? atomic_exchange_explicit(&reuse, mode, memory_order_relaxed) : -1;
}

int pythread_get_reuse(void)
{
    return atomic_load_explicit(&reuse, memory_order_relaxed);
}

void pythread_get_stats(pythread_stats *stats)
{
    /* In the child of a fork the counts are the parent's until this call. */
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
