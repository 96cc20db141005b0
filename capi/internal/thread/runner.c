/*
 * runner.c - how a goroutine that has run a thread waits, in C, for the next one.
 *
 * In C a wake-up is the system's alone, and the goroutine holds none of Go's processors for long:
 * Go takes that away like any other that a call of C holds.
 *
 * Invariant: a word goes from RUNNER_LOOKS to RUNNER_SLEEPS by the runner, and to RUNNER_IS_CALLED
 * by the one start that has taken the runner (runner.go). So a start that finds RUNNER_SLEEPS, and
 * no other, has to wake it.
 *
 * runner.go calls this. It calls gate.h and os.h.
 */
#include "runner.h"

#include "go.h"
#include "system/os.h"

#include <errno.h>

enum { LOOK_NS = 10000, SLEEP_NS = 100000000, CALL_NS = 1000000 };

enum runner_work (*runner_idles)(void);

static bool is_called(atomic_uint *word)
{
    /* Acquire: the thread that the runner is called for is there. */
    return atomic_load_explicit(word, memory_order_acquire) == RUNNER_IS_CALLED;
}

bool runner_wait(atomic_uint *word, bool is_expected)
{
    enum runner_work work = RUNNER_HAS_MORE;
    unsigned looks = RUNNER_LOOKS;
    struct os_spin spin = os_spin_begin(LOOK_NS);
    while (is_expected && !is_called(word) && os_spin(&spin)) {
    }
    while (!is_called(word) && runner_idles != NULL && work == RUNNER_HAS_MORE) {
        work = runner_idles();
    }
    /* In a Go program other goroutines may want the processor that this one holds. */
    if (go_is_programs_own() || work == RUNNER_GOES_BACK) {
        return is_called(word);
    }
    /* Relaxed: the word alone changes. */
    if (atomic_compare_exchange_strong_explicit(word, &looks, RUNNER_SLEEPS, memory_order_relaxed,
                                                memory_order_relaxed)) {
        int64_t deadline = os_deadline_in(SLEEP_NS);
        while (!is_called(word) && os_wait(word, RUNNER_SLEEPS, deadline) != ETIMEDOUT) {
        }
    }
    return is_called(word);
}

void runner_wait_for_call(atomic_uint *word)
{
    while (!is_called(word)) {
        /* The call is nanoseconds away, if its OS thread runs. A deadline, because no wake-up comes
           where the runner does not sleep. */
        os_wait(word, atomic_load_explicit(word, memory_order_relaxed), os_deadline_in(CALL_NS));
    }
}

void runner_wake(atomic_uint *word)
{
    os_wake(word, 1);
}
