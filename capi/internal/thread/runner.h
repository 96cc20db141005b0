/* runner.h - lets a goroutine that has run a thread wait, in C, for the next start. */
#ifndef RUNNER_H
#define RUNNER_H

#include "trampoline.h"

#include <stdbool.h>

/* Waits for a while for the start of a thread, unless it is made already. Then prepares the calling
   OS thread. OS_THREAD_IS_IDLE: no start came. */
enum os_thread_state runner_prepare(struct thread_start *start);

/* True if a goroutine that has run a thread should wait for the next start. */
bool runner_is_wanted(bool start_is_expected);

/* Takes a start that a goroutine waits for. NULL: there is none. The caller makes the start at
   once, because the goroutine waits until then. */
struct thread_start *runner_take_start(void);

/*
 * Takes care that the goroutine of a start that was taken runs on another processor than the
 * caller. False if that is not possible.
 *
 * Some systems wake an OS thread on the processor of the thread that wakes it, and leave it there.
 * Then neither can spin, and a start and its join cost two context switches. So the goroutine's OS
 * thread must leave the processor. It may come back as soon as it runs.
 */
bool runner_moves_away(struct thread_start *awaited);

/* Makes the start that the goroutine waits for, as `start` is. Its ident stays. */
void runner_make_start(struct thread_start *awaited, const struct thread_start *start);

/* Ends the wait of a goroutine, if one waits, because another goroutine needs its OS thread. */
void runner_recall(void);

/* True if the OS thread of a goroutine that waits must go back to Go, for a thread that needs one.
   `waiting` goroutines wait. A function is set before other threads exist, where OS threads are
   counted; else NULL. */
extern bool (*runner_goes_back)(int waiting);

#endif
