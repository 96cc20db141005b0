/* permit.h - permits: a thread starts only if there is an OS thread for it. */
#ifndef PERMIT_H
#define PERMIT_H

#include <stdatomic.h>
#include <stdbool.h>

/* Takes a permit for a thread, before its start. False if none is left and no OS thread can be
   made. NULL: no thread needs a permit. Set before other threads exist. */
extern bool (*thread_takes_permit)(void);

/* How many threads have come to their OS threads, and how many have left them to others, since the
   library was loaded. These have a cache line of their own, which starts do not write. */
extern struct thread_counts {
    _Alignas(64) atomic_uint came;
    atomic_uint left;
    /* A waiter on came is woken at this number. */
    atomic_uint awaited;
} thread_counts;

/* Counts a thread that has come. */
void thread_came(void);

#endif
