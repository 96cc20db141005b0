/*
 * thread.c - the PyThread_* functions about threads, as C callers see them.
 *
 * Most are one line: a call of the //export function of thread.go or, where the process must not
 * enter Go, of the same function for plain pthreads (plain.c). They are C, not //export functions
 * by themselves, because the child of a fork must not enter Go, not even to find out that it is
 * one. Who the caller is, is C because C callers expect it to cost a nanosecond.
 *
 * Invariant: self_ident is the ident of the thread that the calling OS thread runs at the moment,
 * and 0 on an OS thread that runs none.
 */
#define _GNU_SOURCE
#include "thread.h"

#include "_cgo_export.h"
#include "do.h"
#include "fork.h"
#include "os.h"
#include "own.h"
#include "plain.h"

#include <errno.h>
#ifndef _WIN32
#include <pthread.h>
#endif

THREAD_LOCAL PyThread_ident_t self_ident;

PyThread_ident_t thread_become(PyThread_ident_t ident)
{
    PyThread_ident_t before = self_ident;
    self_ident = ident;
    return before;
}

PyThread_ident_t thread_current(void)
{
    return self_ident;
}

bool go_is_refused;
atomic_int go_waits_for_os_threads;

bool go_is_here(void)
{
    return fork_epoch() == FORK_FIRST_EPOCH && !go_is_refused;
}

bool enter_go(void)
{
    /* Set once Go knows the calling OS thread. */
    THREAD_LOCAL bool known;
    if (!go_is_here()) {
        return false;
    }
    if (!known) {
        known = true;
        /* When Go first meets an OS thread it unblocks some signals there, for good. */
        uint64_t mask = os_signal_mask();
        go_init_thread();
        os_set_signal_mask(mask);
    }
    return true;
}

#ifndef _WIN32 /* Where processes do not fork. */

static void begin_in_child(void)
{
    if (fork_epoch() != FORK_FIRST_EPOCH && self_ident != 0) {
        plain_survive(self_ident);
    }
}

__attribute__((constructor)) static void at_load(void)
{
    pthread_atfork(NULL, NULL, begin_in_child);
}

#endif

void PyThread_init_thread(void)
{
    if (enter_go()) {
        go_init_thread();
    }
}

static atomic_int fresh_os_threads;

int pythread_set_fresh_os_threads(int on)
{
    /* Relaxed: it says how to start a thread, and publishes nothing. */
    return atomic_exchange_explicit(&fresh_os_threads, on != 0, memory_order_relaxed);
}

static PyThread_ident_t start_goroutine(thread_func func, void *arg, bool joinable)
{
    struct inheritance creator = {.signal_mask = os_signal_mask(), .float_mode = os_float_mode()};
    os_get_name(creator.name);
    return go_start_thread(func, arg, creator, joinable);
}

static PyThread_ident_t start_own(thread_func func, void *arg, bool joinable)
{
    PyThread_ident_t ident = go_start_own(joinable);
    if (!own_start(func, arg, ident)) {
        go_cancel_own(ident);
        ident = 0;
    }
    return ident;
}

/* Starts a thread. Its ident, which is also its handle; 0 where it did not start. */
static PyThread_ident_t start(thread_func func, void *arg, bool joinable)
{
    int saved = errno;
    PyThread_ident_t ident = 0;
    if (func == NULL || atomic_load_explicit(&go_waits_for_os_threads, memory_order_relaxed) != 0) {
        return 0;
    }
    if (enter_go()) {
        ident = atomic_load_explicit(&fresh_os_threads, memory_order_relaxed)
                    ? start_own(func, arg, joinable)
                    : start_goroutine(func, arg, joinable);
        plain_count_from(ident);
    } else {
        ident = plain_start(func, arg, joinable);
    }
    errno = saved;
    return ident;
}

unsigned long PyThread_start_new_thread(void (*func)(void *), void *arg)
{
    PyThread_ident_t ident = start(func, arg, false);
    return ident == 0 ? PYTHREAD_INVALID_THREAD_ID : (unsigned long)ident;
}

int PyThread_start_joinable_thread(void (*func)(void *), void *arg, PyThread_ident_t *ident,
                                   PyThread_handle_t *handle)
{
    PyThread_ident_t started;
    if (ident == NULL || handle == NULL || (started = start(func, arg, true)) == 0) {
        return -1;
    }
    *ident = started;
    *handle = (PyThread_handle_t)started;
    return 0;
}

int PyThread_join_thread(PyThread_handle_t handle)
{
    int saved = errno;
    int error = enter_go() ? go_join_thread(handle, self_ident) : plain_join(handle, self_ident);
    errno = saved;
    return error;
}

int PyThread_detach_thread(PyThread_handle_t handle)
{
    int saved = errno;
    int error = enter_go() ? go_detach_thread(handle) : plain_detach(handle);
    errno = saved;
    return error;
}

PyThread_ident_t PyThread_get_thread_ident_ex(void)
{
    PyThread_ident_t ident = self_ident;
    return ident != 0 ? ident : (PyThread_ident_t)os_self();
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
    if (do_runs() && go_is_here()) {
        go_exit_thread();
    }
    thread_exit();
}

void PyThread_hang_thread(void)
{
    static atomic_uint nothing;
    for (;;) {
        os_wait(&nothing, 0, OS_NO_DEADLINE);
    }
}

size_t PyThread_get_stacksize(void)
{
    return enter_go() ? go_get_stacksize() : 0;
}

int PyThread_set_stacksize(size_t size)
{
    return enter_go() ? go_set_stacksize(size) : -2;
}
