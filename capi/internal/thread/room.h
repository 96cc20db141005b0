/* room.h - how many threads there are OS threads for. */
#ifndef ROOM_H
#define ROOM_H

#include <stdatomic.h>
#include <stdbool.h>

/* Set, before other threads exist, where a start has to take room first. False where there is none,
   and none can be made. NULL where nobody counts. */
extern bool (*thread_takes_room)(void);

/* How many threads have come to their OS threads, and how many have left them to others, since the
   library was loaded. On a cache line of their own, which starts leave alone. */
extern struct thread_counts {
    _Alignas(64) atomic_uint came;
    atomic_uint left;
    /* Who waits on came is woken at this number. */
    atomic_uint awaited;
} thread_counts;

/* Counts one that has come. */
void thread_came(void);

/* Waits until there is room, and takes it, for a thread that has come to an OS thread on which it
   cannot run. */
void thread_wait_for_room(void);

#endif
