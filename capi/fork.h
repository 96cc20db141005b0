/* fork.h - which process this is, counted in forks. */
#ifndef FORK_H
#define FORK_H

#include <stdatomic.h>
#include <stdbool.h>

/*
 * The epoch of this process: another number in the child of a fork than in its
 * parent, never 0. Threads, the Go runtime and cached thread numbers belong to
 * the epoch they were made in.
 */
unsigned fork_epoch(void);

/* The epoch of the process that loaded the library. */
enum { FORK_FIRST_EPOCH = 2 };

/*
 * Names the function that resets what the parent's threads left in the library's state. It runs
 * once in every child, before fork_epoch returns there for the first time. plain.c calls this
 * in a constructor, before there are other threads.
 */
void fork_on_child(void (*reset)(void));

/*
 * Lets one caller in at a time in each process; the child of a fork does not find its parent's
 * there. 0 at first. False where another is in: nobody waits.
 */
bool fork_enter(atomic_uint *gate);
void fork_leave(atomic_uint *gate);

#endif
