/*
 * fork.c - the epoch: in which process this code runs.
 *
 * Invariant: the word that the system clears in the child of every fork
 * (os_fork_word) is 0 or the number of this process, and the number kept
 * beside it is the last one given out by this process or an ancestor.
 */
#include "fork.h"

#include "os.h"

static atomic_uint *current;
static atomic_uint last;

__attribute__((constructor(101))) static void at_load(void)
{
    current = os_fork_word();
}

unsigned fork_epoch(void)
{
    /* Relaxed: a fork is a barrier, and nothing but the number itself hangs on it. */
    unsigned epoch = atomic_load_explicit(current, memory_order_relaxed);
    if (__builtin_expect(epoch == 0, 0)) {
        /* The first call in a new process; threads that it has started already may race for it. */
        unsigned next = atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
        if (atomic_compare_exchange_strong_explicit(current, &epoch, next, memory_order_relaxed,
                                                    memory_order_relaxed)) {
            epoch = next;
        }
    }
    return epoch;
}
