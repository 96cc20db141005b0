/*
 * signals.c - the host's signals, kept apart from Go.
 *
 * The Go runtime neither handles a signal here nor unblocks one: the build takes
 * all that it would do about them out of it. Invariant: while an OS thread is in
 * Go code all signals are blocked there, since a handler of the host's, which
 * need not ask for a signal stack, would find no room on a goroutine's few
 * kilobytes. Those by which the C library's threads speak to each other, for
 * setuid and cancellation, cannot be blocked, but ask for a signal stack: in Go
 * code it is Go's own. Outside of Go an OS thread has the host's mask and stack.
 */
#define _GNU_SOURCE
#include "signals.h"

#include "os.h"

static const stack_t no_stack = {.ss_flags = SS_DISABLE};

/* The signal stack that the calling OS thread has in Go code: none until Go has seen it. */
THREAD_LOCAL stack_t go_stack = {.ss_flags = SS_DISABLE};

void signals_enter_go(struct signals *host)
{
    host->mask = os_set_signal_mask(OS_ALL_SIGNALS);
    /* Refused where the host runs its code on a signal stack; then that one is there for Go too. */
    host->stack = no_stack;
    sigaltstack(&go_stack, &host->stack);
}

void signals_leave_go(const struct signals *host)
{
    sigaltstack(&host->stack, &go_stack);
    os_set_signal_mask(host->mask);
}

void signals_enter_host(void)
{
    sigaltstack(&no_stack, &go_stack);
}

void signals_leave_host(void)
{
    sigaltstack(&go_stack, NULL);
}
