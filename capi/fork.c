/*
 * fork.c - the epoch: in which process this code runs.
 *
 * What belongs to the parent's other threads is of no use in the child of a
 * fork, and may be locked for ever. The child is not told of that when it is
 * made, since not every way to fork runs handlers, nor runs ours before those of
 * the host; it is reset when the child first asks for its epoch. Invariant:
 * whoever has an epoch finds the library's state as this process has it, and
 * nobody uses that state before asking.
 */
#include "fork.h"

#include "os.h"

#include <stddef.h>

/* What the word that the system clears in a child (os_fork_word) says beside the epoch itself. */
enum { UNKNOWN, RESETTING };

static atomic_uint *current;
/* The epoch of this process, or of the last ancestor that asked for its own. */
static unsigned last = FORK_FIRST_EPOCH;

/* NULL in a program that has the locks and the storage alone, as some tests are. */
static void (*reset_state)(void);

void fork_on_child(void (*reset)(void))
{
    reset_state = reset;
}

__attribute__((constructor(101))) static void at_load(void)
{
    current = os_fork_word();
    atomic_store_explicit(current, last, memory_order_relaxed);
}

/* The first call in a new process, where other threads may run by now that call too. */
static unsigned enter_process(void)
{
    unsigned epoch = UNKNOWN;
    /* A signal handler that asks would wait for the code that it interrupted. */
    os_signals mask = os_block_signals();
    if (atomic_compare_exchange_strong_explicit(current, &epoch, RESETTING, memory_order_acquire,
                                                memory_order_acquire)) {
        if (reset_state != NULL) {
            reset_state();
        }
        /* Release: who finds the epoch finds what was reset. A child that is forked before this
           resets it again, and may use the same number, since this process never did. */
        epoch = ++last;
        atomic_store_explicit(current, epoch, memory_order_release);
    }
    while (epoch == RESETTING) {
        os_relax();
        epoch = atomic_load_explicit(current, memory_order_acquire);
    }
    os_set_signal_mask(mask);
    return epoch;
}

unsigned fork_epoch(void)
{
    unsigned epoch = atomic_load_explicit(current, memory_order_acquire);
    return __builtin_expect(epoch >= FORK_FIRST_EPOCH, 1) ? epoch : enter_process();
}

bool fork_enter(atomic_uint *gate)
{
    /* The gate has the epoch of whoever is in. */
    unsigned epoch = fork_epoch(), before = atomic_load_explicit(gate, memory_order_relaxed);
    /* Acquire: what the last one did before it left has happened. */
    return before != epoch && atomic_compare_exchange_strong_explicit(
                                  gate, &before, epoch, memory_order_acquire, memory_order_relaxed);
}

void fork_leave(atomic_uint *gate)
{
    atomic_store_explicit(gate, 0, memory_order_release);
}
