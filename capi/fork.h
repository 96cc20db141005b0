/* fork.h - which process this is, counted in forks. */
#ifndef FORK_H
#define FORK_H

/*
 * The epoch of this process: another number in the child of a fork than in its
 * parent, never 0. Threads, the Go runtime and cached thread numbers belong to
 * the epoch they were made in.
 */
unsigned fork_epoch(void);

#endif
