/*
 * permit.c - permits: a thread starts only if there is an OS thread for it.
 *
 * libpythread/ counts OS threads, and sets thread_takes_permit. In a Go program that is NULL, and
 * no thread needs a permit. Invariant: a thread that was started comes once, and leaves once.
 *
 * Callers: go_threads.c, thread.c, thread.go, trampoline.c.
 */
#include "permit.h"

#include "system/os.h"

#include <limits.h>

bool (*thread_takes_permit)(void);
struct thread_counts thread_counts;

void thread_came(void)
{
    /* Relaxed: the counts publish no other memory, and a waiter checks them again after a while. */
    unsigned now = atomic_fetch_add_explicit(&thread_counts.came, 1, memory_order_relaxed) + 1;
    if (now == atomic_load_explicit(&thread_counts.awaited, memory_order_relaxed)) {
        os_wake(&thread_counts.came, INT_MAX);
    }
}
