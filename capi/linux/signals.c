/*
 * signals.c - the host's signals, kept apart from Go.
 *
 * The Go runtime neither handles a signal here nor unblocks one: the build gives
 * it a table of signals that asks for nothing. Invariant: while an OS thread is
 * in Go code, all signals are blocked there. A handler of the host's need not
 * ask for a signal stack, and would find no room on a goroutine's few kilobytes.
 * Two signals cannot be blocked: the C library's own, for setuid and for
 * cancellation. Their handlers ask for a signal stack, and in Go code find Go's.
 * Outside of Go code an OS thread has the host's mask and signal stack.
 */
#define _GNU_SOURCE
#include "signals.h"

#include "os.h"

static const stack_t no_stack = {.ss_flags = SS_DISABLE};

/* The signal stack that the calling OS thread has in Go code: none until it was there once. */
THREAD_LOCAL stack_t go_stack = {.ss_flags = SS_DISABLE};

void signals_enter_go(struct signals *host)
{
    host->mask = os_block_signals();
    /* The kernel refuses this on a signal stack. Then the host's stays, and serves Go code too. */
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
