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

/* True if the runner must give its OS thread back to Go, for a thread that needs one. A function is
   set before other threads exist, where OS threads are counted; else NULL. */
extern bool (*runner_goes_back)(void);

#endif
