/*
 * handler_place.h - a handler that checks where it runs: on an OS thread that belongs to the
 * program or runs one of its threads, on the stack of this OS thread or on its signal stack.
 */
#ifndef HANDLER_PLACE_H
#define HANDLER_PLACE_H

#include "threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/syscall.h>

/*
 * A handler compares its place with these: whether the OS thread is the program's, its signal
 * stack, and the stacks of pthreads. They are volatile, because the handler reads them when a call
 * for signals returns. The compiler knows that such a call changes none of them, and could move a
 * write past it.
 */
static _Thread_local volatile bool is_programs;
static _Thread_local char *volatile signal_stack;
static volatile uintptr_t main_stack_end;
static volatile size_t stack_size;

enum { SIGNAL_STACK = 64 * 1024 };

static atomic_int handled[NSIG], strays, misplaced;

/* The descriptor of a pthread is at the upper end of its stack; main's stack is far from it. */
static inline bool on_own_stack(const char *here)
{
    bool is_main = getpid() == (pid_t)syscall(SYS_gettid);
    uintptr_t end = is_main ? main_stack_end : (uintptr_t)pthread_self();
    return (uintptr_t)here < end && end - (uintptr_t)here < stack_size;
}

static inline void check_place(int sig)
{
    int saved = errno;
    char here;
    /* One of the library's OS threads may run a handler only while it runs a thread. */
    if (!is_programs && PyThread_get_thread_ident() == (unsigned long)pthread_self()) {
        atomic_fetch_add(&strays, 1);
    }
    bool on_signal_stack =
        signal_stack != NULL && &here > signal_stack && &here < signal_stack + SIGNAL_STACK;
    if (!on_signal_stack && !on_own_stack(&here)) {
        atomic_fetch_add(&misplaced, 1);
    }
    atomic_fetch_add(&handled[sig], 1);
    errno = saved;
}

/* Called by main, before it sets a handler that looks where it runs. */
static inline void find_stacks(void)
{
    char here;
    size_t size;
    pthread_attr_t attr;
    EQ(pthread_getattr_default_np(&attr), 0);
    EQ(pthread_attr_getstacksize(&attr, &size), 0);
    EQ(pthread_attr_destroy(&attr), 0);
    stack_size = size;
    is_programs = true;
    /* Frames of main's callers lie above this one. */
    main_stack_end = (uintptr_t)&here + 1024 * 1024;
}

static inline void set_signal_stack(void)
{
    stack_t stack = {.ss_size = SIGNAL_STACK, .ss_sp = malloc(SIGNAL_STACK)};
    CHECK(stack.ss_sp != NULL);
    /* Before the call: a signal during the call is handled when it returns, on the new stack. */
    signal_stack = stack.ss_sp;
    EQ(sigaltstack(&stack, NULL), 0);
}

static inline void clear_signal_stack(void)
{
    stack_t none = {.ss_flags = SS_DISABLE};
    EQ(sigaltstack(&none, NULL), 0);
    free(signal_stack);
    signal_stack = NULL;
}

#endif
