/*
 * room.c - counts for how many threads there are OS threads.
 *
 * libpythread/ counts OS threads, and sets thread_takes_room. In a Go program that is NULL, and
 * there is always room. Invariant: a thread that was started comes once, and leaves once.
 *
 * The files of this folder, thread.c, thread.go and libpythread/ call this. It calls os.h.
 */
#include "room.h"

#include "system/os.h"

#include <limits.h>

bool (*thread_takes_room)(void);
struct thread_counts thread_counts;

void thread_came(void)
{
    /* Relaxed: the counts publish no other memory, and a waiter checks them again after a while. */
    unsigned now = atomic_fetch_add_explicit(&thread_counts.came, 1, memory_order_relaxed) + 1;
    if (now == atomic_load_explicit(&thread_counts.awaited, memory_order_relaxed)) {
        os_wake(&thread_counts.came, INT_MAX);
    }
}

/* True if an OS thread has a thread that runs. */
static bool others_run(void)
{
    unsigned left = atomic_load_explicit(&thread_counts.left, memory_order_relaxed);
    unsigned came = atomic_load_explicit(&thread_counts.came, memory_order_relaxed);
    unsigned unfit = atomic_load_explicit(&thread_counts.unfit, memory_order_relaxed);
    return (int)(came - left - unfit) > 0;
}

void thread_wait_for_room(void)
{
    thread_came();
    atomic_fetch_add_explicit(&thread_counts.unfit, 1, memory_order_relaxed);
    while (thread_takes_room != NULL && !thread_takes_room()) {
        /* There will be room when another thread ends. If none runs, this takes more than there is:
           Go has some OS threads more than it needs for its own work. */
        if (!others_run()) {
            /* The thread keeps its old room, and so must not be counted twice. */
            atomic_fetch_sub_explicit(&thread_counts.left, 1, memory_order_relaxed);
            atomic_fetch_sub_explicit(&thread_counts.came, 1, memory_order_relaxed);
            break;
        }
        os_sleep_a_millisecond();
    }
}
