/* go_threads.h - the OS threads that the Go runtime makes in a program of C's. */
#ifndef GO_THREADS_H
#define GO_THREADS_H

#include <stdatomic.h>
#include <stdbool.h>

/* How many there are, those in reserve too; 0 where the library cannot count them. */
extern atomic_long go_threads_count;

/* GOMAXPROCS at first. It suffices until twice as many threads run at once. */
enum { GO_FIRST_PROCESSORS = 4 };

/* Tells how many processors (GOMAXPROCS) Go may have, and returns how many it has at first. */
int go_threads_first_processors(int most);

/* Makes Go's first OS thread, which runs func(arg), and beside the caller those that Go wants next.
   They inherit the caller's signal mask. False where the system has none. */
bool go_threads_create_first(void *(*func)(void *), void *arg);

/* Makes what the second start wants. Called once Go runs. */
void go_threads_fill(void);

#endif
