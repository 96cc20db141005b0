/*
 * thread.c - the PyThread_* functions about threads, as C callers see them.
 *
 * Most are one line: a call of the //export function of thread.go or, where the process must not
 * enter Go, of the same function for plain pthreads (plain.c). They are C, not //export functions
 * by themselves, because the child of a fork must not enter Go, not even to find out that it is
 * one. Who the caller is, is C because C callers expect it to cost a nanosecond.
 */
#define _GNU_SOURCE
#include "thread.h"

#include "_cgo_export.h"
#include "do.h"
#include "fork.h"
#include "name.h"
#include "os.h"
#include "own.h"
#include "plain.h"
#include "reuse.h"
#include "stack.h"
#include "status.h"

#include <errno.h>
#include <limits.h>
#ifndef _WIN32
#include <pthread.h>
#endif

/* Go has left the calling OS thread, or is about to. */
THREAD_LOCAL bool has_no_go;

void thread_goes_without_go(void)
{
    has_no_go = true;
}

atomic_uint go_state = GO_IS_UP;
bool (*thread_takes_room)(void);
struct thread_counts thread_counts;

void thread_came(void)
{
    /* Relaxed: the counts publish nothing, and who waits looks again from time to time. */
    unsigned now = atomic_fetch_add_explicit(&thread_counts.came, 1, memory_order_relaxed) + 1;
    if (now == atomic_load_explicit(&thread_counts.awaited, memory_order_relaxed)) {
        os_wake(&thread_counts.came, INT_MAX);
    }
}

bool go_is_here(void)
{
    /* Acquire: once it is up, what its start did has happened. */
    return fork_epoch() == FORK_FIRST_EPOCH &&
           atomic_load_explicit(&go_state, memory_order_acquire) != GO_IS_GIVEN_UP;
}

bool go_is_programs_own(void)
{
    return atomic_load_explicit(&go_state, memory_order_relaxed) == GO_IS_UP;
}

static void wait_for_go(void)
{
    while (atomic_load_explicit(&go_state, memory_order_acquire) == GO_IS_STARTING) {
        os_wait(&go_state, GO_IS_STARTING, OS_NO_DEADLINE);
    }
}

bool enter_go(void)
{
    /* Set once Go knows the calling OS thread. */
    THREAD_LOCAL bool known;
    if (fork_epoch() == FORK_FIRST_EPOCH) {
        wait_for_go();
    }
    if (!go_is_here() || has_no_go) {
        return false;
    }
    if (!known) {
        known = true;
        /* When Go first meets an OS thread it unblocks some signals there, for good. */
        os_signals mask = os_signal_mask();
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
    status_survive();
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

static PyThread_ident_t start_goroutine(thread_func func, void *arg, int mode, bool joinable)
{
    return go_start_thread(func, arg, thread_inheritance(mode), joinable);
}

static PyThread_ident_t start_own(thread_func func, void *arg, bool joinable)
{
    PyThread_ident_t ident = go_start_own(joinable);
    if (!own_start(func, arg, ident)) {
        go_cancel_own(ident);
        ident = 0;
    }
    /* The pthread is no OS thread of Go's. */
    thread_came();
    atomic_fetch_add_explicit(&thread_counts.left, 1, memory_order_relaxed);
    return ident;
}

/*
 * What the calling OS thread asks of Go where Go has left it: another OS thread asks instead. Such
 * a call comes from a destructor, when the OS thread ends that a thread left unfit for the next.
 */
struct call {
    enum { START, JOIN, DETACH } what;
    thread_func func;
    void *arg;
    bool joinable;
    PyThread_handle_t handle;
    /* The ident of a thread that was started, 0 for none. */
    PyThread_ident_t ident;
    int error;
};

static PyThread_ident_t start(thread_func func, void *arg, bool joinable);

static void make_call(void *arg)
{
    struct call *call = arg;
    switch (call->what) {
    case START:
        call->ident = start(call->func, call->arg, call->joinable);
        break;
    case JOIN:
        call->error = PyThread_join_thread(call->handle);
        break;
    case DETACH:
        call->error = PyThread_detach_thread(call->handle);
        break;
    }
}

static bool go_has_left(void)
{
    return has_no_go && go_is_here();
}

/* Waits where only the end of some thread helps, of which nobody tells. */
static void wait_a_millisecond(void)
{
    atomic_uint nobody_wakes = 0;
    os_wait(&nobody_wakes, 0, os_deadline_in(1000000));
}

static void call_elsewhere(struct call *call)
{
    while (!own_run_elsewhere(make_call, call, self_ident) && call->what != START) {
        /* The system has no OS thread left; it will have one when another ends. */
        wait_a_millisecond();
    }
}

void thread_wait_for_room(void)
{
    thread_came();
    while (thread_takes_room != NULL && !thread_takes_room()) {
        /* There will be room when another thread ends. */
        wait_a_millisecond();
    }
}

/* Starts a thread. Its ident, which is also its handle; 0 where it did not start. */
static PyThread_ident_t start(thread_func func, void *arg, bool joinable)
{
    int saved = errno;
    PyThread_ident_t ident = 0;
    if (func == NULL) {
        return 0;
    }
    int64_t since = status_now();
    if (go_has_left()) {
        struct call call = {.what = START, .func = func, .arg = arg, .joinable = joinable};
        call_elsewhere(&call);
        ident = call.ident;
    } else if (enter_go()) {
        int mode = reuse_mode();
        if (thread_takes_room != NULL && !thread_takes_room()) {
            ident = 0;
        } else if (reuse_wants_own_pthread(mode) || stack_size() != 0) {
            ident = start_own(func, arg, joinable);
        } else {
            ident = start_goroutine(func, arg, mode, joinable);
        }
        plain_count_from(ident);
    } else {
        ident = plain_start(func, arg, joinable);
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

int PyThread_join_thread(PyThread_handle_t handle)
{
    int saved = errno, error;
    /* The handle is the thread's ident. */
    struct status_wait before = status_wait(WAITS_FOR_THREAD, handle);
    if (go_has_left()) {
        struct call call = {.what = JOIN, .handle = handle};
        call_elsewhere(&call);
        error = call.error;
    } else {
        error = enter_go() ? go_join_thread(handle, self_ident) : plain_join(handle, self_ident);
    }
    status_wait_ends(before);
    errno = saved;
    return error;
}

int PyThread_detach_thread(PyThread_handle_t handle)
{
    int saved = errno, error;
    if (go_has_left()) {
        struct call call = {.what = DETACH, .handle = handle};
        call_elsewhere(&call);
        error = call.error;
    } else {
        error = enter_go() ? go_detach_thread(handle) : plain_detach(handle);
    }
    errno = saved;
    return error;
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
    int saved = errno;
    char kept[OS_NAME_SIZE] = "";
    if (name == NULL) {
        return EINVAL;
    }
    name_copy(kept, name);
    if (!do_runs()) { /* else the OS thread is Go's, and stays as it was */
        os_set_name(kept);
    }
    if (self_ident != 0 && enter_go()) {
        go_set_name(self_ident, kept);
    }
    errno = saved;
    return 0;
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
