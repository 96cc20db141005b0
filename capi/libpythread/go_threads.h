/* go_threads.h - the OS threads that the Go runtime makes in a program of C's. */
#ifndef GO_THREADS_H
#define GO_THREADS_H

#include <stdatomic.h>

/* How many there are; 0 where the library cannot count them. */
extern atomic_long go_threads_count;

#endif
