/*
 * runner.c - lets a goroutine that has run a thread wait, in C, for the next start.
 *
 * Such a goroutine is a runner. It has made the next thread in Go before it waits. So the start
 * does not enter Go, and only the system's scheduler takes part in the wake-up. Go takes back the
 * Go processor of the runner, as in any call of C.
 *
 * Invariant: a runner has a place, and while it waits, the place's bit in `ready` is set. An atomic
 * "and" that clears the bit takes the runner out. If a start takes it out, this start is made, and
 * the runner waits until it is. If the runner takes itself out, no start has it. Only the runner
 * changes a state from START_IS_AWAITED to START_MUST_WAKE. Only the start that has taken it
 * changes it to START_IS_MADE or START_IS_OFF. So only a start that finds START_MUST_WAKE must wake
 * the runner.
 *
 * Callers: go_threads.c, thread.c, thread.go.
 */
#include "runner.h"

#include "ends.h"
#include "go.h"
#include "sync/identity.h"
#include "system/os.h"

#include <errno.h>

enum { LOOK_NS = 10000, CALL_NS = 1000000, PLACES = 64 };
static const int64_t SLEEP_NS = 10000000000;

bool (*runner_goes_back)(int waiting);

/* The starts that runners wait for, a runner at each place. A bit of `used` is set while a runner
   has the place, and a bit of `ready` while the runner waits there. */
static struct thread_start *starts[PLACES];
static atomic_ullong used, ready;

static int first_of(unsigned long long places)
{
    return __builtin_ctzll(places);
}

static bool goes_back(int waiting)
{
    /* In a Go program other goroutines may need the Go processor of this one. */
    return go_is_programs_own() || (runner_goes_back != NULL && runner_goes_back(waiting));
}

static unsigned state_of(struct thread_start *start)
{
    /* Acquire: the runner sees what the start has set. */
    return atomic_load_explicit(&start->state, memory_order_acquire);
}

static bool is_awaited(struct thread_start *start)
{
    unsigned state = state_of(start);
    return state == START_IS_AWAITED || state == START_MUST_WAKE;
}

/* Spins, if the start is expected at once. Then sleeps, if the OS thread is not needed. */
static void wait_for_a_while(struct thread_start *start, bool is_expected)
{
    unsigned awaited = START_IS_AWAITED;
    struct os_spin spin = os_spin_begin(LOOK_NS);
    while (is_expected && is_awaited(start) && os_spin(&spin)) {
    }
    /* Sequentially consistent: see needs_os_thread. */
    int waiting = __builtin_popcountll(atomic_load_explicit(&ready, memory_order_seq_cst));
    /* Relaxed: the exchange publishes no other memory. */
    if (!goes_back(waiting) &&
        atomic_compare_exchange_strong_explicit(&start->state, &awaited, START_MUST_WAKE,
                                                memory_order_relaxed, memory_order_relaxed)) {
        int64_t deadline = os_deadline_in(SLEEP_NS);
        while (is_awaited(start) &&
               os_wait(&start->state, START_MUST_WAKE, deadline) != ETIMEDOUT) {
        }
    }
}

/* Takes a place, which is PLACES if there is none. */
static int take_place(void)
{
    /* Relaxed: `ready` publishes what is at the place. */
    unsigned long long now = atomic_load_explicit(&used, memory_order_relaxed);
    while (now != ~0ULL) {
        int place = first_of(~now);
        /* Acquire: pairs with the release of the place. */
        now = atomic_fetch_or_explicit(&used, 1ULL << place, memory_order_acquire);
        if ((now & 1ULL << place) == 0) {
            return place;
        }
    }
    return PLACES;
}

/* Takes the runner at the place out. False if that was done already. */
static bool take_out(int place)
{
    /* Acquire: a start sees what the runner has set. */
    unsigned long long before =
        atomic_fetch_and_explicit(&ready, ~(1ULL << place), memory_order_acquire);
    return (before & 1ULL << place) != 0;
}

/* Waits for the start. False if it does not come for a while. */
static bool wait_for(struct thread_start *start)
{
    /* This is read before a start can change it. */
    bool is_expected = start->is_quick;
    int place = take_place();
    if (place < PLACES) {
        start->processor = os_processor();
        start->os_thread = identity_native_id();
        starts[place] = start;
        /* Release: pairs with take_out. Sequentially consistent: see needs_os_thread. */
        atomic_fetch_or_explicit(&ready, 1ULL << place, memory_order_seq_cst);
    }
    /* Not earlier: a thread that joins may make the next start at once. */
    if (start->ended != 0) {
        ends_count(start->ended);
    }
    if (place == PLACES) {
        return false;
    }
    wait_for_a_while(start, is_expected);
    if (!is_awaited(start) || !take_out(place)) {
        /* A start has taken this runner, and makes the start within a microsecond, if its OS thread
           runs. The wait has a deadline, because that start does not wake a runner that does not
           sleep above. */
        while (is_awaited(start)) {
            os_wait(&start->state, state_of(start), os_deadline_in(CALL_NS));
        }
    }
    /* Release: pairs with take_place. */
    atomic_fetch_and_explicit(&used, ~(1ULL << place), memory_order_release);
    return state_of(start) == START_IS_MADE;
}

enum os_thread_state runner_prepare(struct thread_start *start)
{
    if (state_of(start) != START_IS_MADE && !wait_for(start)) {
        return OS_THREAD_IS_IDLE;
    }
    if (start->processors != 0) {
        os_set_processors(start->processors);
        start->processors = 0; /* The thread may go on to another OS thread. */
    }
    return thread_prepare(&start->creator);
}

bool runner_is_wanted(bool start_is_expected)
{
    /* Relaxed: this is advice. */
    int waiting = __builtin_popcountll(atomic_load_explicit(&ready, memory_order_relaxed));
    return waiting < PLACES && (start_is_expected || !goes_back(waiting + 1));
}

struct thread_start *runner_take_start(void)
{
    /* Sequentially consistent: see needs_os_thread. */
    unsigned long long places = atomic_load_explicit(&ready, memory_order_seq_cst);
    while (places != 0) {
        int place = first_of(places);
        if (take_out(place)) {
            return starts[place];
        }
        places = atomic_load_explicit(&ready, memory_order_seq_cst);
    }
    return NULL;
}

bool runner_moves_away(struct thread_start *awaited)
{
    int processor = os_processor();
    if (awaited->processor != processor) {
        return true;
    }
    awaited->processors = os_move_from(processor, awaited->os_thread);
    return awaited->processors != 0;
}

static void end_wait(struct thread_start *start, unsigned state)
{
    /* Release: pairs with state_of. */
    if (atomic_exchange_explicit(&start->state, state, memory_order_release) == START_MUST_WAKE) {
        /* The thread may have ended, and Go may use the memory for something else by now. A wake-up
           does not read the memory. It wakes a waiter there for no reason at worst. */
        os_wake(&start->state, 1);
    }
}

void runner_make_start(struct thread_start *awaited, const struct thread_start *start)
{
    awaited->func = start->func;
    awaited->arg = start->arg;
    awaited->creator = start->creator;
    awaited->is_joinable = start->is_joinable;
    awaited->is_quick = start->is_quick;
    end_wait(awaited, START_IS_MADE);
}

void runner_recall(void)
{
    struct thread_start *start = runner_take_start();
    if (start != NULL) {
        end_wait(start, START_IS_OFF);
    }
}
