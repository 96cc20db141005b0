/* runner.h - lets a goroutine that has run a thread wait, in C, for the next thread. */
#ifndef RUNNER_H
#define RUNNER_H

#include <stdatomic.h>
#include <stdbool.h>

/* The values of a runner's word. A start that gives the runner a thread sets RUNNER_IS_CALLED, and
   wakes the runner if it sleeps. */
enum { RUNNER_LOOKS, RUNNER_SLEEPS, RUNNER_IS_CALLED };

/* Waits for a while until the runner is called. False if it is not. Spins first, if a call is
   expected at once. */
bool runner_wait(atomic_uint *word, bool is_expected);

/* Waits until the runner is called. */
void runner_wait_for_call(atomic_uint *word);

void runner_wake(atomic_uint *word);

/* The result of runner_idles. */
enum runner_work {
    RUNNER_HAS_NONE,
    RUNNER_HAS_MORE,
    RUNNER_GOES_BACK /* a thread needs an OS thread, so the runner gives its own back to Go */
};

/* Does a piece of work for later starts. NULL: there is none. Set before other threads exist, if OS
   threads are counted. */
extern enum runner_work (*runner_idles)(void);

#endif
