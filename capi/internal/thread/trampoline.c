//go:build unix

/*
 * trampoline.c - the trampoline: how a C function runs as a thread on an OS thread of Go's.
 *
 * It is C because pthread_exit and cancellation unwind C frames and must be stopped in one, before
 * they reach Go's. Invariant: whatever the function does, the OS thread is Go's again when
 * thread_run returns, with the signal mask, signal stack and arithmetic that Go left there; and the
 * thread that follows finds nothing of this one there that the library knows of.
 */
#define _GNU_SOURCE
#include "trampoline.h"

#include "room.h"

#include "clean.h"
#include "go.h"
#include "system/os.h"
#include "own_os_thread.h"
#include "forked.h"
#include "reuse.h"
#include "sync/status.h"
#include "system/tsan.h"
#include "sync/tss.h"

#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* An OS thread of Go's, from the first thread on it to its end. */
struct os_thread {
    /* What it had before the thread that runs on it. */
    uint64_t float_mode;
    os_signals signal_mask;
    stack_t signal_stack;
    /* The name that it has; known only after a thread of the mode CLEAN. */
    char name[OS_NAME_SIZE];
    bool name_is_known;
    /* A thread of the mode ALWAYS was here: what it left behind is not known. */
    bool is_unchecked;
    /* The thread before blocked signals, which may still come for it. */
    bool discards_signals;
    struct clean_mark mark;
};

/* The calling OS thread; NULL where no thread has come to it. */
THREAD_LOCAL struct os_thread *here;

bool signals_stay_blocked;

/* The OS thread that Go never ends. A thread that leaves its OS thread unfit may not run there: it
   could not be joined. */
static uintptr_t gos_first;

void thread_note_gos_first(void)
{
    gos_first = os_self();
}

struct inheritance thread_inheritance(int reuse, uint64_t float_mode, const os_signals *signal_mask)
{
    struct inheritance self = {
        .float_mode = float_mode & ~OS_FLOAT_FLAGS,
        .signal_mask = signal_mask != NULL ? *signal_mask : os_signal_mask(),
        .reuse = reuse,
    };
    if (reuse == PYTHREAD_REUSE_CLEAN) {
        os_get_name(self.name);
    }
    return self;
}

static void set_name(const char *creators)
{
    if (!here->name_is_known) {
        here->name_is_known = true;
        os_get_name(here->name);
    }
    if (memcmp(here->name, creators, sizeof here->name) != 0) {
        memcpy(here->name, creators, sizeof here->name);
        os_set_name(here->name);
    }
}

/* Knows the calling OS thread from now on. False where there is no memory. */
static bool come_here(void)
{
    if (here == NULL && (here = calloc(1, sizeof *here)) != NULL) {
        go_made_os_thread();
        sigaltstack(NULL, &here->signal_stack);
    }
    return here != NULL;
}

static void forget_here(void)
{
    free(here);
    here = NULL;
}

static void enter(PyThread_ident_t ident, const struct inheritance *creator)
{
    static const stack_t none = {.ss_flags = SS_DISABLE};
    if (signals_stay_blocked) {
        /* The thread has none, as any new one. */
        sigaltstack(&none, NULL);
    }
    if (creator->reuse == PYTHREAD_REUSE_CLEAN) {
        set_name(creator->name);
        clean_find_gos_variable();
        clean_begin(&here->mark);
    } else {
        here->name_is_known = false;
        here->is_unchecked = true;
    }
    status_become(ident);
    here->float_mode = os_float_mode();
    os_set_float_mode(creator->float_mode);
    if (here->discards_signals) {
        os_discard_signals();
    }
    here->signal_mask = os_set_signal_mask(creator->signal_mask);
    errno = 0;
}

/* Gives the OS thread back to Go. */
static void leave(void)
{
    /* First of all: after the join nobody expects a handler to run here, or on a signal stack that
       may be freed by then. */
    here->discards_signals = os_is_any_signal(os_block_signals());
    /* Go needs its own signal stack for signals that come while it runs on a goroutine's stack: in
       a C program those that the C library sends to all threads. */
    sigaltstack(&here->signal_stack, NULL);
    os_set_float_mode(here->float_mode);
    if (!signals_stay_blocked) {
        if (here->discards_signals) {
            os_discard_signals();
        }
        os_set_signal_mask(here->signal_mask);
    }
}

/* Ends the thread, on an OS thread that goes on to the next one. */
static void end_thread(void)
{
    uselocale(LC_GLOBAL_LOCALE);
    tss_thread_end();
    status_become(0);
}

void thread_leave(void)
{
    leave();
    end_thread();
}

/* True where the OS thread, on which a thread of the mode CLEAN has ended, is as good as new. */
static bool is_as_new(void)
{
    os_get_name(here->name);
    bool is_clean = clean_is_clean(&here->mark, tss_key_value()) && clean_has_initial_scheduling();
    reuse_note_end(is_clean);
    return is_clean;
}

/* What the thread's destructors run with when Go ends the OS thread. Go's own handler must not run
   where Go has left, so the signals that it is for are blocked. */
static os_signals mask_of_destructors(void)
{
    /* The mask is not changed here: a thread that changes it takes what is meant for main. */
    return os_with_signal(os_with_signal(os_signal_mask(), SIGURG), SIGPIPE);
}

/* A thread on this OS thread, and where it goes when it exits or is cancelled. */
struct trampoline {
    PyThread_ident_t ident;
    jmp_buf exit_to;
};

/*
 * The last cleanup handler of a thread that exits or is cancelled: all others, and the destructors
 * of all C++ frames, have run. It takes the OS thread out of the exit, which would end Go's frames
 * next. In the child of a fork Go's frames are dead: the OS thread ends.
 */
static void stop_exit(void *arg)
{
    struct trampoline *trampoline = arg;
    if (go_is_here()) {
        _longjmp(trampoline->exit_to, 1);
    }
    forked_end(trampoline->ident);
}

enum os_thread_fate thread_run(thread_func func, void *arg, PyThread_ident_t ident,
                               struct inheritance creator)
{
    volatile bool exited = true;
    struct trampoline trampoline = {.ident = ident};
    bool is_checked = creator.reuse == PYTHREAD_REUSE_CLEAN;
    if (os_self() == gos_first) {
        return OS_THREAD_NEVER_ENDS;
    }
    if (!come_here()) {
        return OS_THREAD_WAS_UNFIT;
    }
    if (is_checked && here->is_unchecked) {
        if (!clean_is_clean(&here->mark, NULL) || !clean_has_initial_scheduling()) {
            forget_here();
            return OS_THREAD_WAS_UNFIT;
        }
        clean_drop_blocks();
    }
    thread_came();
    enter(ident, &creator);
    pthread_cleanup_push(stop_exit, &trampoline);
    if (_setjmp(trampoline.exit_to) == 0) {
        tsan_acquire(tsan_start_mark(func, arg));
        func(arg);
        if (is_checked) {
            clean_run_destructors();
        }
        /* A cancellation that comes too late for this thread must not hit the next one. */
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
        pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
        pthread_testcancel();
        exited = false;
    } else {
        /* An exit in one of them comes here again. */
        clean_run_destructors();
    }
    pthread_cleanup_pop(0);
    if (!go_is_here()) {
        forked_end(ident);
        pthread_exit(NULL);
    }
    tsan_release(tsan_end_mark(ident));
    /* An OS thread that has begun to exit takes no cancellation any more. */
    bool is_reusable = !exited && (!is_checked || is_as_new());
    /* On one that ends, the thread goes on to be itself in the destructors that run then. */
    bool is_watched = !is_reusable && own_watch_end(ident, mask_of_destructors());
    leave();
    if (is_reusable && is_checked) {
        clean_drop_blocks();
    }
    if (!is_reusable) {
        forget_here();
    }
    if (!is_watched) {
        end_thread();
    }
    return is_reusable  ? OS_THREAD_IS_REUSABLE
           : is_watched ? OS_THREAD_ENDS_WATCHED
                        : OS_THREAD_ENDS;
}

void thread_exit(void)
{
    pthread_exit(NULL);
}
