//go:build unix

/*
 * loading.c - what Go's constructor changes in a C program is changed back: the signal mask and the
 * signal handlers.
 *
 * Invariant: once the library is loaded the program has its own signal mask and handlers. Nothing
 * is to be done where Go waits for the first thread and its table of signals was found
 * (go_start.c): then its constructor changes nothing.
 */
#define _GNU_SOURCE
#include "loading.h"

#include "../internal/nofile/nofile.h"
#include "../thread.h"
#include "go_start.h"

#include <signal.h>
#include <stddef.h>

/* The signal mask of the thread that loads the library. */
static sigset_t mask;

/*
 * Go's constructor sets handlers for these, which no Go code of the library needs. Without them a
 * fault ends the process as in any C program. Go preempts goroutines by SIGURG, which is ignored by
 * default, so that it interrupts no system call.
 */
static const int handled[] = {SIGSEGV, SIGBUS, SIGFPE, SIGPIPE, SIGURG};
enum { HANDLED = sizeof handled / sizeof *handled };
static struct sigaction actions[HANDLED];

void loading_begins(void)
{
    signals_stay_blocked = true;
    if (go_start_changes_nothing()) {
        return;
    }
    sigset_t all;
    /* Where Go starts now, its pthread_create, which notes the limit later, is the C library's. */
    nofile_note();
    for (int i = 0; i < HANDLED; i++) {
        sigaction(handled[i], NULL, &actions[i]);
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
}

/* After Go's own constructor. */
__attribute__((constructor)) static void after_go_started(void)
{
    if (go_start_changes_nothing()) {
        return;
    }
    for (int i = 0; i < HANDLED; i++) {
        if (actions[i].sa_handler != SIG_DFL && actions[i].sa_handler != SIG_IGN) {
            /* It may run while its thread is on the small stack of a goroutine. */
            actions[i].sa_flags |= SA_ONSTACK;
        }
        sigaction(handled[i], &actions[i], NULL);
    }
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
}
