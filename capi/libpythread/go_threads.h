/* go_threads.h - the OS threads that the Go runtime makes in a program of C's. */
#ifndef GO_THREADS_H
#define GO_THREADS_H

#include <stdatomic.h>
#include <stdbool.h>

/* How many there are, those in reserve too; 0 where the library cannot count them. */
extern atomic_long go_threads_count;

/*
 * How many OS threads for threads Go has before the first is started. With none, where the system
 * has no more, the first thread would wait for ever.
 */
enum { GO_WORKERS = 2 };

/* Tells how many processors (GOMAXPROCS) Go may have, and returns how many it has at first. */
int go_threads_first_processors(int most);

/* Waits until so many goroutines are here, each on an OS thread of its own. */
void go_threads_meet(void);

/* Makes an OS thread for Go, which inherits the caller's signal mask. False where the system has
   none. */
bool go_threads_create(void *(*func)(void *), void *arg);

#endif
