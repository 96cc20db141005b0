/* go_threads.h - the OS threads that the Go runtime makes in a program of C's. */
#ifndef GO_THREADS_H
#define GO_THREADS_H

#include <stdatomic.h>
#include <stdbool.h>

/* How many there are, those in reserve too; 0 where the library cannot count them. */
extern atomic_long go_threads_count;

/* Tells how many processors (GOMAXPROCS) Go may have, and returns how many it has at first. */
int go_threads_first_processors(int most);

/* Makes an OS thread for Go, which runs func(arg) and inherits the caller's signal mask. False
   where the system has none. */
bool go_threads_create(void *(*func)(void *), void *arg);

#endif
