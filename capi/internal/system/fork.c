/*
 * fork.c - the epoch: the number of the process in which this code runs.
 *
 * In the child of a fork, the library's state still has what the parent's other threads left there,
 * perhaps locked for ever. Fork handlers cannot reset it, because not every way to fork runs
 * handlers, and the program's handlers may run before the library's. So the first call of
 * fork_epoch in the child resets the state. Invariant: code calls fork_epoch before it uses the
 * state, and then finds the state of this process.
 *
 * Callers: dump.c, forked.c, go.c, identity.c, pylock.c, trace.c.
 */
#include "fork.h"

#include "os.h"

#include <stddef.h>

/* The values of the word besides the epoch. The system clears the word in a child (os_fork_word).
 */
enum { UNKNOWN, RESETTING };

/* The word until the constructor has run. Until then there is only one process. */
static atomic_uint before_load = FORK_FIRST_EPOCH;
static atomic_uint *_Atomic current = &before_load;
/* The epoch of this process, or of the last ancestor that called fork_epoch. */
static unsigned last = FORK_FIRST_EPOCH;

/* NULL in a program with only the locks and the storage, as some tests are. */
static void (*reset_state)(void);

void fork_on_child(void (*reset)(void))
{
    reset_state = reset;
}

__attribute__((constructor(101))) static void at_load(void)
{
    atomic_uint *word = os_fork_word();
    atomic_store_explicit(word, last, memory_order_relaxed);
    atomic_store_explicit(&current, word, memory_order_release);
}

/* Acquire: see at_load. */
static atomic_uint *own_word(void)
{
    return atomic_load_explicit(&current, memory_order_acquire);
}

/* Makes the first call in a new process. Other threads may call it at the same time. */
static unsigned enter_process(void)
{
    unsigned epoch = UNKNOWN;
    /* A signal handler that calls this would wait for the code that it interrupted. */
    os_signals mask = os_block_signals();
    if (atomic_compare_exchange_strong_explicit(own_word(), &epoch, RESETTING, memory_order_acquire,
                                                memory_order_acquire)) {
        if (reset_state != NULL) {
            reset_state();
        }
        /* Release: a thread that loads the epoch sees the state after the reset. A child that is
           forked before this store resets the state again. It may use the same number, because this
           process has not used the number yet. */
        epoch = ++last;
        atomic_store_explicit(own_word(), epoch, memory_order_release);
    }
    while (epoch == RESETTING) {
        os_relax();
        epoch = atomic_load_explicit(own_word(), memory_order_acquire);
    }
    os_set_signal_mask(mask);
    return epoch;
}

unsigned fork_epoch(void)
{
    unsigned epoch = atomic_load_explicit(own_word(), memory_order_acquire);
    return __builtin_expect(epoch >= FORK_FIRST_EPOCH, 1) ? epoch : enter_process();
}

bool fork_enter(atomic_uint *gate)
{
    /* The gate has the epoch of the process whose thread is inside. */
    unsigned epoch = fork_epoch(), before = atomic_load_explicit(gate, memory_order_relaxed);
    /* Acquire: what the last caller did inside happens before what this one does. */
    return before != epoch && atomic_compare_exchange_strong_explicit(
                                  gate, &before, epoch, memory_order_acquire, memory_order_relaxed);
}

void fork_leave(atomic_uint *gate)
{
    atomic_store_explicit(gate, 0, memory_order_release);
}
