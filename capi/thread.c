/*
 * thread.c - the PyThread_* functions about threads, as C callers see them.
 *
 * Most call an //export function of thread.go or, if the process must not enter Go, the same
 * function for plain pthreads (forked.c). Why C: the child of a fork must not enter Go, not even to
 * find out that it is one. PyThread_get_thread_ident is C so that it costs one load.
 *
 * Callers: C programs.
 */
#define _GNU_SOURCE
#include "_cgo_export.h"
#include "sync/critical.h"
#include "sync/identity.h"
#include "sync/status.h"
#include "system/name.h"
#include "system/os.h"
#include "system/stack.h"
#include "system/tsan.h"
#include "thread/ends.h"
#include "thread/forked.h"
#include "thread/go.h"
#include "thread/own_os_thread.h"
#include "thread/quick.h"
#include "thread/reuse.h"
#include "thread/permit.h"
#include "thread/runner.h"
#include "visit.h"

#include <errno.h>

void PyThread_init_thread(void)
{
    struct visit visit;
    if (enter_go(&visit)) { /* false: Go sleeps until the first thread */
        go_init_thread();
        leave_go(&visit);
    }
}

static PyThread_ident_t start_goroutine(thread_func func, void *arg, int mode, bool joinable)
{
    struct thread_start made = {.state = START_IS_MADE,
                                .func = func,
                                .arg = (uintptr_t)arg,
                                .is_joinable = joinable,
                                .is_quick = quick_start()};
    struct thread_start *awaited = runner_take_start();
    struct visit visit;
    unsigned ends = 0;
    if (awaited != NULL) {
        made.ident = awaited->ident;
        /* On the goroutine's own processor a spin would only keep it from running. */
        made.is_quick = made.is_quick && runner_moves_away(awaited);
        made.creator = thread_inheritance(mode, os_float_mode(), NULL);
        ends = ends_seen(made.ident);
        forked_count_from(made.ident);
        if (go_is_lost()) { /* a handler of a signal has forked since */
            return 0;
        }
        runner_make_start(awaited, &made);
    } else if (enter_go(&visit)) {
        const os_signals *signal_mask = visit.blocks_signals ? &visit.signal_mask : NULL;
        made.creator = thread_inheritance(mode, visit.float_mode, signal_mask);
        made.ident = go_start_thread(&made, &ends);
        leave_go(&visit);
    }
    quick_started(made.ident, ends, made.is_quick);
    return made.ident;
}

static PyThread_ident_t start_own(thread_func func, void *arg, bool joinable)
{
    struct visit visit;
    PyThread_ident_t ident = 0;
    if (enter_go(&visit)) {
        ident = go_start_own(joinable);
        leave_go(&visit);
        /* After the visit, because the pthread inherits the caller's signal mask. */
        if (go_is_lost() || !own_start(func, arg, ident)) {
            if (enter_go(&visit)) {
                go_cancel_own(ident);
                leave_go(&visit);
            }
            ident = 0;
        }
    }
    /* The pthread is not an OS thread of Go, so it is counted here. */
    thread_came();
    atomic_fetch_add_explicit(&thread_counts.left, 1, memory_order_relaxed);
    return ident;
}

/*
 * A call that another OS thread makes, because Go is out of reach of the caller. It comes from a
 * destructor of an OS thread that Go ends, or from the stack of a coroutine.
 */
struct call {
    enum { START, JOIN, DETACH, SET_NAME } what;
    thread_func func;
    void *arg;
    bool joinable;
    os_signals mask; /* for a thread that is started */
    PyThread_handle_t handle;
    const char *name;
    /* The ident of the thread that was started; 0: none. */
    PyThread_ident_t ident;
    int error;
};

static PyThread_ident_t start(thread_func func, void *arg, bool joinable);

/* Gives Go the name of the calling thread. */
static void tell_name(const char *name)
{
    struct visit visit;
    if (enter_go(&visit)) {
        go_set_name(identity_self(), (char *)name);
        leave_go(&visit);
    }
}

static void make_call(void *arg)
{
    struct call *call = arg;
    switch (call->what) {
    case START:
        os_set_signal_mask(call->mask);
        call->ident = start(call->func, call->arg, call->joinable);
        break;
    case JOIN:
        call->error = PyThread_join_thread(call->handle);
        break;
    case DETACH:
        call->error = PyThread_detach_thread(call->handle);
        break;
    case SET_NAME:
        tell_name(call->name);
        break;
    }
}

/* Starts a thread. Returns its ident, which is also its handle, or 0 if it did not start. */
static PyThread_ident_t start(thread_func func, void *arg, bool joinable)
{
    int saved = errno;
    PyThread_ident_t ident = 0;
    if (func == NULL) {
        return 0;
    }
    int64_t since = status_now();
    tsan_release(tsan_start_mark(func, arg));
    if (go_is_out_of_reach()) {
        struct call call = {.what = START,
                            .func = func,
                            .arg = arg,
                            .joinable = joinable,
                            .mask = os_signal_mask()};
        own_run_elsewhere(make_call, &call);
        ident = call.ident;
    } else if (!go_is_lost() && wake_go()) {
        int mode = reuse_mode();
        if (thread_takes_permit != NULL && !thread_takes_permit()) {
            ident = 0;
        } else if (reuse_wants_own_pthread(mode) || stack_size() != 0) {
            ident = start_own(func, arg, joinable);
        } else {
            ident = start_goroutine(func, arg, mode, joinable);
        }
    }
    /* Not earlier: a handler of a signal may have forked meanwhile. */
    if (ident == 0 && go_is_lost()) {
        ident = forked_start(func, arg, joinable);
    }
    if (ident != 0) {
        status_started(ident, since);
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

/* Joins a thread, and ends the visit. It waits outside of visits, so that signal handlers run. */
static int join(PyThread_handle_t handle, struct visit *visit)
{
    unsigned seen = ends_seen(handle);
    int error = go_begin_join(handle, identity_self());
    leave_go(visit);
    while (error == EAGAIN) {
        ends_wait(handle, seen, OS_NO_DEADLINE);
        seen = ends_seen(handle);
        if (!enter_go(visit)) { /* a handler of a signal has forked since */
            return forked_join(handle, identity_self());
        }
        error = go_end_join(handle, identity_self());
        leave_go(visit);
    }
    return error;
}

int PyThread_join_thread(PyThread_handle_t handle)
{
    int saved = errno, error;
    struct visit visit;
    critical_suspend();
    /* The handle is the thread's ident. */
    struct status_wait before = status_wait(WAITS_FOR_THREAD, handle);
    if (go_is_out_of_reach()) {
        struct call call = {.what = JOIN, .handle = handle};
        own_ask_elsewhere(make_call, &call);
        error = call.error;
    } else {
        quick_wait(handle);
        error = enter_go(&visit) ? join(handle, &visit) : forked_join(handle, identity_self());
        quick_joined(handle);
    }
    status_wait_ends(before);
    critical_resume();
    if (error == 0) {
        tsan_acquire(tsan_end_mark(handle));
    }
    errno = saved;
    return error;
}

int PyThread_detach_thread(PyThread_handle_t handle)
{
    int saved = errno, error;
    struct visit visit;
    if (go_is_out_of_reach()) {
        struct call call = {.what = DETACH, .handle = handle};
        own_ask_elsewhere(make_call, &call);
        error = call.error;
    } else if (enter_go(&visit)) {
        error = go_detach_thread(handle);
        leave_go(&visit);
    } else {
        error = forked_detach(handle);
    }
    errno = saved;
    return error;
}

PyThread_ident_t PyThread_get_thread_ident_ex(void)
{
    return identity_caller();
}

unsigned long PyThread_get_thread_ident(void)
{
    return (unsigned long)identity_caller();
}

unsigned long PyThread_get_thread_native_id(void)
{
    return identity_native_id();
}

int pythread_set_name(const char *name)
{
    int saved = errno;
    char kept[OS_NAME_SIZE] = "";
    if (name == NULL) {
        return EINVAL;
    }
    name_copy(kept, name);
    if (!identity_is_in_do()) { /* in a Do the OS thread keeps its own name */
        os_set_name(kept);
    }
    if (identity_self() != 0 && go_is_out_of_reach()) {
        struct call call = {.what = SET_NAME, .name = kept};
        own_ask_elsewhere(make_call, &call);
    } else if (identity_self() != 0) {
        tell_name(kept);
    }
    errno = saved;
    return 0;
}

void PyThread_exit_thread(void)
{
    if (identity_is_in_do() && go_is_here()) {
        go_leave_stack(go_exit_thread);
    }
    thread_exit();
}

void PyThread_hang_thread(void)
{
    static atomic_uint nothing;
    critical_suspend();
    for (;;) {
        os_wait(&nothing, 0, OS_NO_DEADLINE);
    }
}

size_t PyThread_get_stacksize(void)
{
    struct visit visit;
    size_t size = 0;
    if (enter_go(&visit)) {
        size = go_get_stacksize();
        leave_go(&visit);
    }
    return size;
}

int PyThread_set_stacksize(size_t size)
{
    struct visit visit;
    int result = -2;
    if (enter_go(&visit)) {
        result = go_set_stacksize(size);
        leave_go(&visit);
    }
    return result;
}
