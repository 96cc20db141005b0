//go:build unix

/*
 * loading.c - restores the program's signal mask and handlers after Go's constructor.
 *
 * Invariant: when the library is loaded, the program has its own signal mask and handlers. If Go
 * waits for the first thread and its table of signals was found (go_start.c), Go's constructor
 * changes nothing, and there is nothing to restore.
 *
 * Callers: go_threads.c.
 */
#define _GNU_SOURCE
#include "loading.h"

#include "nofile/nofile.h"
#include "thread/trampoline.h"
#include "go_start.h"

#include <signal.h>
#include <stddef.h>

/* The signal mask of the thread that loads the library. */
static sigset_t mask;

/*
 * Go's constructor sets handlers for these signals, which the library does not need. Without the
 * handlers a fault ends the process as in any C program. Go preempts goroutines by SIGURG; its
 * default is to ignore the signal, so it interrupts no system call.
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
    /* If Go starts now, it calls the C library's pthread_create, which does not note the limit. */
    nofile_note();
    for (int i = 0; i < HANDLED; i++) {
        sigaction(handled[i], NULL, &actions[i]);
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
}

/* Runs after Go's constructor. */
__attribute__((constructor)) static void after_go_started(void)
{
    if (go_start_changes_nothing()) {
        return;
    }
    for (int i = 0; i < HANDLED; i++) {
        if (actions[i].sa_handler != SIG_DFL && actions[i].sa_handler != SIG_IGN) {
            /* The handler may run while its thread is on the small stack of a goroutine. */
            actions[i].sa_flags |= SA_ONSTACK;
        }
        sigaction(handled[i], &actions[i], NULL);
    }
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
}
