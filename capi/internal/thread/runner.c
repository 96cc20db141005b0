/*
 * runner.c - lets a goroutine that has run a thread wait, in C, for the next thread.
 *
 * A wake-up in C needs only the system, not Go's scheduler. Go takes back the Go processor of the
 * goroutine, as it does in any call of C.
 *
 * Invariant: only the runner changes its word from RUNNER_LOOKS to RUNNER_SLEEPS, and only the
 * start that has taken the runner (runner.go) changes it to RUNNER_IS_CALLED. So only a start that
 * finds RUNNER_SLEEPS must wake the runner.
 *
 * runner.go calls this. It calls go.h and os.h.
 */
#include "runner.h"

#include "go.h"
#include "system/os.h"

#include <errno.h>

enum { LOOK_NS = 10000, SLEEP_NS = 100000000, CALL_NS = 1000000 };

bool (*runner_goes_back)(void);

static bool is_called(atomic_uint *word)
{
    /* Acquire: the runner sees the thread that it is called for. */
    return atomic_load_explicit(word, memory_order_acquire) == RUNNER_IS_CALLED;
}

bool runner_wait(atomic_uint *word, bool is_expected)
{
    unsigned looks = RUNNER_LOOKS;
    struct os_spin spin = os_spin_begin(LOOK_NS);
    while (is_expected && !is_called(word) && os_spin(&spin)) {
    }
    /* In a Go program other goroutines may need the Go processor of this one. */
    if (go_is_programs_own() || (runner_goes_back != NULL && runner_goes_back())) {
        return is_called(word);
    }
    /* Relaxed: the exchange publishes no other memory. */
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
        /* The call comes within nanoseconds, if its OS thread runs. The wait has a deadline,
           because a start does not wake a runner that is not in RUNNER_SLEEPS. */
        os_wait(word, atomic_load_explicit(word, memory_order_relaxed), os_deadline_in(CALL_NS));
    }
}

void runner_wake(atomic_uint *word)
{
    os_wake(word, 1);
}
