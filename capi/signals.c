/*
 * signals.c - the host's signal handlers, left as they were.
 *
 * The Go runtime, when it is loaded, installs handlers of its own for a few
 * signals and changes the flags of the host's: without them a fault in C code
 * would print a Go traceback, and a write to a broken pipe would not end a
 * program. This library needs none of them: its Go code neither faults nor is
 * preempted by signals, and no handler of the host runs on its stacks, since
 * all signals are blocked while it runs. Invariant: when the library is
 * loaded, every signal is handled as it was before.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>

static struct sigaction before[NSIG];

/* The runtime does its part in a constructor without priority, after those with one. */
__attribute__((constructor(102))) static void save_handlers(void)
{
    for (int sig = 1; sig < NSIG; sig++) {
        sigaction(sig, NULL, &before[sig]);
    }
}

/* In the order of linking: after the runtime's, which the linker is given first. */
__attribute__((constructor)) static void restore_handlers(void)
{
    for (int sig = 1; sig < NSIG; sig++) {
        struct sigaction now;
        if (sigaction(sig, NULL, &now) == 0 &&
            (now.sa_handler != before[sig].sa_handler || now.sa_flags != before[sig].sa_flags)) {
            sigaction(sig, &before[sig], NULL);
        }
    }
}
