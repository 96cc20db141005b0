/* fork.h - the epoch: the number of this process, counted in forks. */
#ifndef FORK_H
#define FORK_H

#include <stdatomic.h>
#include <stdbool.h>

/*
 * The epoch of this process. It is never 0, and differs between the child of a fork and its parent.
 * Threads, the Go runtime and cached thread numbers belong to the epoch in which they were made.
 */
unsigned fork_epoch(void);

/* The epoch of the process that loaded the library. */
enum { FORK_FIRST_EPOCH = 2 };

/*
 * Registers the function that resets what the parent's threads left in the library's state. It runs
 * once in every child, before fork_epoch returns for the first time. forked.c calls this in a
 * constructor, before other threads exist.
 */
void fork_on_child(void (*reset)(void));

/*
 * Lets one caller in at a time. Returns false, and does not wait, if another caller is inside. A
 * gate is 0 at first. In the child of a fork it is free, even if a thread of the parent was inside.
 */
bool fork_enter(atomic_uint *gate);
void fork_leave(atomic_uint *gate);

#endif
