/* room.h - counts for how many threads there are OS threads. */
#ifndef ROOM_H
#define ROOM_H

#include <stdatomic.h>
#include <stdbool.h>

/* Takes room for a thread, before its start. False if there is none and none can be made. NULL: no
   limit is checked. Set before other threads exist. */
extern bool (*thread_takes_room)(void);

/* How many threads have come to their OS threads, and how many have left them to others, since the
   library was loaded. These have a cache line of their own, which starts do not write. */
extern struct thread_counts {
    _Alignas(64) atomic_uint came;
    atomic_uint left;
    /* How many threads keep an OS thread on which they cannot run. */
    atomic_uint unfit;
    /* A waiter on came is woken at this number. */
    atomic_uint awaited;
} thread_counts;

/* Counts a thread that has come. */
void thread_came(void);

/* Waits until there is room and takes it, for a thread that cannot run on the OS thread to which it
   has come. */
void thread_wait_for_room(void);

#endif
