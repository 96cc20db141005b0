/* runner.h - how a goroutine that has run a thread waits, in C, for the next one. */
#ifndef RUNNER_H
#define RUNNER_H

#include <stdatomic.h>
#include <stdbool.h>

/* The values of the word on which a runner waits. A start that gives the runner a thread sets it to
   RUNNER_IS_CALLED, and wakes the runner if it sleeps. */
enum { RUNNER_LOOKS, RUNNER_SLEEPS, RUNNER_IS_CALLED };

/* Waits a while until the runner is called; false if it is not. Looks first, if a call is expected
   at once. */
bool runner_wait(atomic_uint *word, bool is_expected);

/* Waits until the runner is called. */
void runner_wait_for_call(atomic_uint *word);

void runner_wake(atomic_uint *word);

/* What runner_idles says. */
enum runner_work {
    RUNNER_HAS_NONE,
    RUNNER_HAS_MORE,
    RUNNER_GOES_BACK /* a thread needs an OS thread of Go's, so the runner gives its own back */
};

/* Does a part of the work that is done beside threads. A function is set before other threads
   exist, where OS threads are counted; else NULL. */
extern enum runner_work (*runner_idles)(void);

#endif
