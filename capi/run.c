//go:build unix

/*
 * run.c - the trampoline: how a C function runs as a thread on an OS thread of Go's.
 *
 * It is C because pthread_exit and cancellation unwind C frames and must be stopped in one, before
 * they reach Go's. Invariant: whatever the function does, the OS thread is Go's again when
 * thread_run returns, with the signal mask, signal stack and arithmetic that Go left there; and the
 * thread that follows finds nothing of this one there that the library knows of.
 */
#define _GNU_SOURCE
#include "thread.h"

#include "clean.h"
#include "os.h"
#include "own.h"
#include "plain.h"
#include "reuse.h"
#include "status.h"
#include "tss.h"

#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>

/* What the OS thread had before the thread that runs on it. */
THREAD_LOCAL struct inheritance before;
THREAD_LOCAL stack_t signal_stack;
/* The name that the OS thread has; known only after a thread of the mode CLEAN. */
THREAD_LOCAL char name[OS_NAME_SIZE];
THREAD_LOCAL bool name_is_known;
/* A thread of the mode ALWAYS was here: what it left behind is not known. */
THREAD_LOCAL bool is_unchecked;
/* The thread before blocked signals, which may still come for it. */
THREAD_LOCAL bool discards_signals;
/* Where a thread goes that exits or is cancelled. */
THREAD_LOCAL jmp_buf exit_to;

bool signals_stay_blocked;

/* The OS thread that Go never ends. A thread that leaves its OS thread unfit may not run there: it
   could not be joined. */
static uintptr_t gos_first;

void thread_note_gos_first(void)
{
    gos_first = os_self();
}

struct inheritance thread_inheritance(int reuse, const struct visit *visit)
{
    struct inheritance self = {
        .float_mode = os_float_mode(),
        .signal_mask = visit->blocks_signals ? visit->signal_mask : os_signal_mask(),
        .reuse = reuse,
    };
    if (reuse == PYTHREAD_REUSE_CLEAN) {
        os_get_name(self.name);
    }
    return self;
}

static void set_name(const char *creators)
{
    if (!name_is_known) {
        name_is_known = true;
        os_get_name(name);
    }
    if (memcmp(name, creators, sizeof name) != 0) {
        memcpy(name, creators, sizeof name);
        os_set_name(name);
    }
}

static void enter(PyThread_ident_t ident, const struct inheritance *creator)
{
    static const stack_t none = {.ss_flags = SS_DISABLE};
    THREAD_LOCAL bool knows_signal_stack;
    if (!knows_signal_stack) {
        knows_signal_stack = true;
        thread_is_gos();
        sigaltstack(NULL, &signal_stack);
    }
    if (signals_stay_blocked) {
        /* The thread has none, as any new one. */
        sigaltstack(&none, NULL);
    }
    if (creator->reuse == PYTHREAD_REUSE_CLEAN) {
        set_name(creator->name);
        clean_find_gos_variable();
        clean_begin();
    } else {
        name_is_known = false;
        is_unchecked = true;
    }
    status_become(ident);
    before.float_mode = os_float_mode();
    os_set_float_mode(creator->float_mode);
    if (discards_signals) {
        os_discard_signals();
    }
    before.signal_mask = os_set_signal_mask(creator->signal_mask);
    errno = 0;
}

/* Gives the OS thread back to Go. */
static void leave(void)
{
    /* First of all: after the join nobody expects a handler to run here, or on a signal stack that
       may be freed by then. */
    discards_signals = os_is_any_signal(os_block_signals());
    /* Go needs its own signal stack for signals that come while it runs on a goroutine's stack: in
       a C program those that the C library sends to all threads. */
    sigaltstack(&signal_stack, NULL);
    os_set_float_mode(before.float_mode);
    if (!signals_stay_blocked) {
        if (discards_signals) {
            os_discard_signals();
        }
        os_set_signal_mask(before.signal_mask);
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
    os_get_name(name);
    bool is_clean = clean_is_clean(tss_key_value()) && clean_has_initial_scheduling();
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

/*
 * The last cleanup handler of a thread that exits or is cancelled: all others, and the destructors
 * of all C++ frames, have run. It takes the OS thread out of the exit, which would end Go's frames
 * next. In the child of a fork Go's frames are dead: the OS thread ends.
 */
static void stop_exit(void *ident)
{
    if (go_is_here()) {
        _longjmp(exit_to, 1);
    }
    plain_end(*(PyThread_ident_t *)ident);
}

enum os_thread_fate thread_run(thread_func func, void *arg, PyThread_ident_t ident,
                               struct inheritance creator)
{
    volatile bool exited = true;
    bool is_checked = creator.reuse == PYTHREAD_REUSE_CLEAN;
    if (os_self() == gos_first) {
        return OS_THREAD_NEVER_ENDS;
    }
    if (is_checked && is_unchecked) {
        if (!clean_is_clean(NULL) || !clean_has_initial_scheduling()) {
            return OS_THREAD_WAS_UNFIT;
        }
        clean_drop_blocks();
    }
    thread_came();
    enter(ident, &creator);
    pthread_cleanup_push(stop_exit, &ident);
    if (_setjmp(exit_to) == 0) {
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
        plain_end(ident);
        pthread_exit(NULL);
    }
    /* An OS thread that has begun to exit takes no cancellation any more. */
    bool is_reusable = !exited && (!is_checked || is_as_new());
    /* On one that ends, the thread goes on to be itself in the destructors that run then. */
    bool is_watched = !is_reusable && own_watch_end(ident, mask_of_destructors());
    leave();
    if (is_reusable && is_checked) {
        clean_drop_blocks();
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
