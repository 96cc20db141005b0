/*
 * signals.h - the host's signals, where OS threads enter Go code and leave it.
 *
 * carrier.c calls this around each step into Go, and out of Go into a thread.
 */
#ifndef SIGNALS_H
#define SIGNALS_H

#include <signal.h>
#include <stdint.h>

/* What the host has on an OS thread: the signal mask and the signal stack. */
struct signals {
    uint64_t mask;
    stack_t stack;
};

/* Called before and after an OS thread of the host's, or one in a thread, runs Go code. */
void signals_enter_go(struct signals *host);
void signals_leave_go(const struct signals *host);

/* Called before and after a carrier runs threads. All signals are blocked there. */
void signals_enter_host(void);
void signals_leave_host(void);

#endif
