//go:build unix

/*
 * loading.c - what a program in C gets back when the library has been loaded, and Go with it.
 *
 * Invariant: the program has its own signal mask and signal actions, and handlers run on its own
 * threads. For Go's first OS thread, and so all others, begins with all signals blocked.
 */
#define _GNU_SOURCE
#include "../internal/nofile/nofile.h"
#include "../thread.h"

#include <signal.h>
#include <stddef.h>

/* The signal mask of the thread that loads the library. */
static sigset_t mask;

/*
 * Go's constructor sets handlers for these, which no Go code of the library's needs. Without them a
 * fault ends the process as in any program of C's; and SIGURG, by which Go asks goroutines to make
 * way, is ignored by default, so that it interrupts no system call.
 */
static const int handled[] = {SIGSEGV, SIGBUS, SIGFPE, SIGPIPE, SIGURG};
enum { HANDLED = sizeof handled / sizeof *handled };
static struct sigaction actions[HANDLED];

/* Before Go's own constructor, and after it. */
__attribute__((constructor(101))) static void before_go_starts(void)
{
    sigset_t all;
    /* For an archive: Go's pthread_create, which notes it later, is then the C library's. */
    nofile_note();
    for (int i = 0; i < HANDLED; i++) {
        sigaction(handled[i], NULL, &actions[i]);
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
}

__attribute__((constructor)) static void after_go_started(void)
{
    for (int i = 0; i < HANDLED; i++) {
        if (actions[i].sa_handler != SIG_DFL && actions[i].sa_handler != SIG_IGN) {
            /* It may run while its thread is on the small stack of a goroutine. */
            actions[i].sa_flags |= SA_ONSTACK;
        }
        sigaction(handled[i], &actions[i], NULL);
    }
    signals_stay_blocked = true;
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
}
