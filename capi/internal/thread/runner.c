/*
 * runner.c - lets a goroutine that has run a thread wait, in C, for the next start.
 *
 * Such a goroutine is a runner. It has made the next thread in Go before it waits. So neither the
 * start nor the runner enters Go before the thread's function runs, and no scheduler but the
 * system's takes part. Go takes back the Go processor of the runner, as in any call of C.
 *
 * Invariant: one runner at most is in `waiting`. A compare-and-swap takes it out. If a start takes
 * it out, this start is made, and the runner waits until it is. If the runner takes itself out, no
 * start has it. Only the runner changes a state from START_IS_AWAITED to START_MUST_WAKE. Only the
 * start that has taken it changes it to START_IS_MADE. So only a start that finds START_MUST_WAKE
 * must wake the runner.
 *
 * thread.c and thread.go call this. It calls ends.h, go.h, trampoline.h and os.h.
 */
#include "runner.h"

#include "ends.h"
#include "go.h"
#include "system/os.h"

#include <errno.h>

enum { LOOK_NS = 10000, SLEEP_NS = 100000000, CALL_NS = 1000000 };

bool (*runner_goes_back)(void);

/* The start that a runner waits for. NULL: none. */
static _Atomic(struct thread_start *) waiting;

static bool goes_back(void)
{
    /* In a Go program other goroutines may need the Go processor of this one. */
    return go_is_programs_own() || (runner_goes_back != NULL && runner_goes_back());
}

static bool is_made(struct thread_start *start)
{
    /* Acquire: the runner sees what the start has set. */
    return atomic_load_explicit(&start->state, memory_order_acquire) == START_IS_MADE;
}

/* Spins, if the start is expected at once. Then sleeps, if the OS thread is not needed. */
static void wait_for_a_while(struct thread_start *start, bool is_expected)
{
    unsigned awaited = START_IS_AWAITED;
    struct os_spin spin = os_spin_begin(LOOK_NS);
    while (is_expected && !is_made(start) && os_spin(&spin)) {
    }
    /* Relaxed: the exchange publishes no other memory. */
    if (!goes_back() &&
        atomic_compare_exchange_strong_explicit(&start->state, &awaited, START_MUST_WAKE,
                                                memory_order_relaxed, memory_order_relaxed)) {
        int64_t deadline = os_deadline_in(SLEEP_NS);
        while (!is_made(start) && os_wait(&start->state, START_MUST_WAKE, deadline) != ETIMEDOUT) {
        }
    }
}

/* Waits for the start. False if it does not come for a while. */
static bool wait_for(struct thread_start *start)
{
    struct thread_start *none = NULL, *mine = start;
    /* This is read before a start can change it. */
    bool is_expected = start->is_quick;
    start->processor = os_processor();
    /* Release: the start sees the ident and the processor. Sequentially consistent: see
     * needs_os_thread. */
    bool is_waiting = atomic_compare_exchange_strong_explicit(
        &waiting, &none, start, memory_order_seq_cst, memory_order_relaxed);
    /* Not earlier: a thread that joins may make the next start at once. */
    if (start->ended != 0) {
        ends_count(start->ended);
    }
    if (!is_waiting) {
        return false;
    }
    wait_for_a_while(start, is_expected);
    /* Relaxed: the exchange publishes no other memory. */
    if (!is_made(start) && atomic_compare_exchange_strong_explicit(
                               &waiting, &mine, NULL, memory_order_relaxed, memory_order_relaxed)) {
        return false;
    }
    /* A start has taken this one, and makes it within a microsecond, if its OS thread runs. The
       wait has a deadline, because that start does not wake a runner that does not sleep above. */
    while (!is_made(start)) {
        os_wait(&start->state, atomic_load_explicit(&start->state, memory_order_relaxed),
                os_deadline_in(CALL_NS));
    }
    return true;
}

enum os_thread_fate runner_run(struct thread_start *start)
{
    return is_made(start) || wait_for(start) ? thread_run(start) : OS_THREAD_IS_IDLE;
}

bool runner_is_wanted(bool start_is_expected)
{
    /* Relaxed: this is advice. */
    return atomic_load_explicit(&waiting, memory_order_relaxed) == NULL &&
           (start_is_expected || !goes_back());
}

struct thread_start *runner_take_start(void)
{
    /* Sequentially consistent: see needs_os_thread. */
    struct thread_start *start = atomic_load_explicit(&waiting, memory_order_seq_cst);
    /* Acquire: pairs with the runner's step into `waiting`. */
    return start != NULL && atomic_compare_exchange_strong_explicit(
                                &waiting, &start, NULL, memory_order_acquire, memory_order_relaxed)
               ? start
               : NULL;
}

void runner_make_start(struct thread_start *awaited, const struct thread_start *start)
{
    awaited->func = start->func;
    awaited->arg = start->arg;
    awaited->creator = start->creator;
    awaited->is_joinable = start->is_joinable;
    awaited->is_quick = start->is_quick;
    /* Release: pairs with is_made. */
    if (atomic_exchange_explicit(&awaited->state, START_IS_MADE, memory_order_release) ==
        START_MUST_WAKE) {
        /* The thread may have ended, and Go may use the memory for something else by now. A wake-up
           does not read the memory. It wakes a waiter there for no reason at worst. */
        os_wake(&awaited->state, 1);
    }
}
