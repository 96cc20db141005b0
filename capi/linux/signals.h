/* signals.h - the host's signals, where OS threads go into Go code and out of it. */
#ifndef SIGNALS_H
#define SIGNALS_H

#include <signal.h>
#include <stdint.h>

/* What an OS thread has for signals outside of Go: its mask and its signal stack. */
struct signals {
    uint64_t mask;
    stack_t stack;
};

/* Before and after an OS thread of the host's runs Go code. */
void signals_enter_go(struct signals *host);
void signals_leave_go(const struct signals *host);

/* Before and after an OS thread of Go's, on which all signals are blocked, runs the host's code. */
void signals_enter_host(void);
void signals_leave_host(void);

#endif
