/* go_threads.h - the OS threads of the Go runtime in a C program. */
#ifndef GO_THREADS_H
#define GO_THREADS_H

#include <stdatomic.h>
#include <stdbool.h>

/* How many there are, with those in the reserve; 0 if the library cannot count them. */
extern atomic_long go_threads_count;

/* Notes how many processors (GOMAXPROCS) Go may have at most, and returns how many it has at first.
 */
int go_threads_first_processors(int most);

#endif
