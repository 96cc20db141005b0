//go:build unix

/*
 * trampoline.c - the trampoline: runs a C function as a thread on an OS thread of the Go runtime.
 *
 * Why C: pthread_exit and cancellation unwind C frames, and must stop in a C frame before they
 * reach Go's frames. Invariant: when thread_run returns, the OS thread has the signal mask, signal
 * stack and floating-point mode that Go had given it, whatever the function did. The next thread on
 * it finds nothing that the library can see of this one.
 *
 * Callers: handle.go, loading.c, thread.go, trampoline_windows.c.
 */
#define _GNU_SOURCE
#include "trampoline.h"

#include "clean.h"
#include "forked.h"
#include "go.h"
#include "own_os_thread.h"
#include "permit.h"
#include "reuse.h"
#include "sync/critical.h"
#include "sync/status.h"
#include "sync/tss.h"
#include "system/os.h"
#include "system/tsan.h"

#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* An OS thread of Go, from its first thread to its end. */
struct os_thread {
    /* What it had before the current thread. */
    uint64_t float_mode;
    os_signals signal_mask;
    stack_t signal_stack;
    /* Its name, which is known only after a thread of the mode CLEAN. */
    char name[OS_NAME_SIZE];
    bool name_is_known;
    /* A thread of the mode ALWAYS was here. What it left is not known. */
    bool is_unchecked;
    /* The last thread blocked signals, and some may still be pending for it. */
    bool discards_signals;
    /* When its last thread ended. */
    int64_t ended;
    struct clean_mark mark;
};

/* The calling OS thread. NULL: no thread has run on it. */
THREAD_LOCAL struct os_thread *here;

bool signals_stay_blocked;

/* The OS thread that Go never ends. No thread runs there, because a thread that left something
   there could not be joined. */
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

/* Makes the record of the calling OS thread, if there is none. False if no memory is left. */
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
        /* The thread has no signal stack, as any new thread. */
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
    critical_exchange(0); /* a thread that has ended in a section has left it there */
    here->float_mode = os_float_mode();
    os_set_float_mode(creator->float_mode);
    if (here->discards_signals) {
        os_discard_signals();
    }
    here->signal_mask = os_set_signal_mask(creator->signal_mask);
    errno = 0;
}

/*
 * Gives the memory back that the thread has used deep in its stack, as the C library does when a
 * pthread ends. A thread that has run for a moment has used little. So threads that follow each
 * other at once, for which a system call would take long, do not make one.
 */
static void give_back_stack(void)
{
    enum { MOMENT_NS = 50000 };
    int64_t now = os_now_ns();
    uintptr_t end = go_stack_end();
    if (now - here->ended > MOMENT_NS && end != 0) {
        os_give_back_stack(end);
    }
    here->ended = now;
}

/* Gives the OS thread back to Go. */
static void leave(void)
{
    /* This comes first: after the join no handler of the program may run here, or on a signal stack
       that the program may free then. */
    here->discards_signals = os_is_any_signal(os_block_signals());
    /* Go needs its own signal stack for signals that come while it runs on a goroutine's stack. In
       a C program these are the signals that the C library sends to all threads. */
    sigaltstack(&here->signal_stack, NULL);
    os_set_float_mode(here->float_mode);
    if (!signals_stay_blocked) {
        if (here->discards_signals) {
            os_discard_signals();
        }
        os_set_signal_mask(here->signal_mask);
    }
    give_back_stack();
}

/* Ends the thread, on an OS thread that goes on to the next thread. */
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

/* True if the OS thread, on which a thread of the mode CLEAN has ended, is as good as new. */
static bool is_as_new(void)
{
    os_get_name(here->name);
    bool is_clean = clean_is_clean(&here->mark, tss_key_value()) && clean_has_initial_scheduling();
    reuse_note_end(is_clean);
    return is_clean;
}

/* The signal mask for the thread's destructors, if Go ends the OS thread. Go's handlers must not
   run on an OS thread that Go has left, so their signals are blocked. */
static os_signals mask_of_destructors(void)
{
    /* This does not set the mask: a thread that does may take a signal that is meant for main. */
    return os_with_signal(os_with_signal(os_signal_mask(), SIGURG), SIGPIPE);
}

/* A thread on this OS thread, and the place to which an exit or a cancellation jumps. */
struct trampoline {
    PyThread_ident_t ident;
    jmp_buf exit_to;
};

/*
 * The last cleanup handler of a thread that exits or is cancelled. All other cleanup handlers, and
 * the destructors of all C++ frames, have run. It jumps out of the exit, which would unwind Go's
 * frames next. In the child of a fork Go's frames are not used again, so the OS thread ends.
 */
static void stop_exit(void *arg)
{
    struct trampoline *trampoline = arg;
    if (go_is_here()) {
        _longjmp(trampoline->exit_to, 1);
    }
    forked_end(trampoline->ident);
}

enum os_thread_state thread_prepare(const struct inheritance *creator)
{
    if (os_self() == gos_first) {
        return OS_THREAD_NEVER_ENDS;
    }
    if (!come_here()) {
        return OS_THREAD_IS_UNFIT;
    }
    if (creator->reuse == PYTHREAD_REUSE_CLEAN && here->is_unchecked) {
        if (!clean_is_clean(&here->mark, NULL) || !clean_has_initial_scheduling()) {
            forget_here();
            return OS_THREAD_IS_UNFIT;
        }
        clean_drop_blocks();
    }
    return OS_THREAD_IS_FIT;
}

enum os_thread_fate thread_run(const struct thread_start *start)
{
    volatile bool exited = true;
    PyThread_ident_t ident = start->ident;
    void *arg = (void *)start->arg;
    struct trampoline trampoline = {.ident = ident};
    bool is_checked = start->creator.reuse == PYTHREAD_REUSE_CLEAN;
    thread_came();
    enter(ident, &start->creator);
    pthread_cleanup_push(stop_exit, &trampoline);
    if (_setjmp(trampoline.exit_to) == 0) {
        tsan_acquire(tsan_start_mark(start->func, arg));
        start->func(arg);
        if (is_checked) {
            clean_run_destructors();
        }
        /* A cancellation that comes late must not cancel the next thread. */
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
        pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
        pthread_testcancel();
        exited = false;
    } else {
        /* If a destructor exits, the exit comes here again. */
        clean_run_destructors();
    }
    pthread_cleanup_pop(0);
    if (!go_is_here()) {
        forked_end(ident);
        pthread_exit(NULL);
    }
    tsan_release(tsan_end_mark(ident));
    /* An OS thread that has begun to exit is not reusable: it takes no cancellation any more. */
    bool is_reusable = !exited && (!is_checked || is_as_new());
    /* If the OS thread ends, its destructors still run as this thread. */
    bool is_watched = !is_reusable && own_watch_end(ident, mask_of_destructors());
    leave();
    if (!go_is_here()) { /* a handler of a signal has forked since */
        if (!is_watched) {
            forked_end(ident);
        }
        pthread_exit(NULL);
    }
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
