/*
 * go.c - whether this process has a Go runtime, and where it may be called.
 *
 * In a Go program Go is there from the start. In a C program it sleeps until the first thread
 * starts, and belongs to the process that woke it: the child of a fork has no runtime of its
 * parent's, but wakes one of its own if the parent's slept. Invariant: Go is called in the process
 * that started it, on the OS threads and stacks that it knows or can find out about.
 *
 * visit.c and the files of this folder call this. It calls fork.h and os.h.
 */
#define _GNU_SOURCE
#include "go.h"

#include "system/fork.h"

#include <limits.h>

/* The epoch of the process that started Go, or is about to; 0 while Go sleeps. */
__attribute__((weak)) atomic_uint go_home = FORK_FIRST_EPOCH;

/* IS_UP, or an even number that grows by REFUSAL with each OS thread that Go did not get. */
enum { IS_UP = 1, REFUSAL = 2 };
static atomic_uint state = IS_UP;

static bool is_programs_own = true;
static bool (*start_go)(void);

/*
 * What Go takes the calling OS thread for, in one word, as there is little room for variables of
 * threads.
 *
 * Go has read the bounds of the stack of an OS thread of its own when it made it, and ends the
 * process where it is called on another stack, say a coroutine's. On other OS threads it looks anew
 * where the bounds are, and no range is needed here. An OS thread that Go has left, or is about to,
 * has a range without an address.
 */
THREAD_LOCAL struct {
    uint64_t first_page : 44;
    uint64_t pages : 18;
    uint64_t has_range : 1;
    uint64_t is_known : 1; /* Go has met it */
} self;

enum { PAGE_BITS = 12 };
_Static_assert(sizeof self == sizeof(uint64_t), "it is one word");

bool go_is_here(void)
{
    /* Acquire: what Go's start did happens before a call that finds Go up. */
    return atomic_load_explicit(&go_home, memory_order_relaxed) == fork_epoch() &&
           atomic_load_explicit(&state, memory_order_acquire) == IS_UP;
}

bool go_is_lost(void)
{
    /* Relaxed: home changes from 0 to this epoch at most, and neither means that Go is lost. */
    unsigned epoch = atomic_load_explicit(&go_home, memory_order_relaxed);
    return epoch != 0 && epoch != fork_epoch();
}

bool go_is_programs_own(void)
{
    return is_programs_own;
}

void go_leaves_os_thread(void)
{
    self.has_range = true;
    self.pages = 0;
}

void go_made_os_thread(void)
{
    enum { MOST_PAGES = (1 << 18) - 1 };
    if (!self.has_range) {
        struct os_range stack = os_stack();
        size_t pages = stack.size >> PAGE_BITS;
        self.first_page = stack.low >> PAGE_BITS;
        self.pages = pages < MOST_PAGES ? pages : MOST_PAGES;
        self.has_range = pages != 0;
    }
}

/* False where Go must not be called: on another stack than its own, or where Go has left. */
static bool is_in_range(void)
{
    if (is_programs_own) {
        /* Most likely the OS thread is Go's. */
        go_made_os_thread();
    }
    uint64_t page = (uintptr_t)__builtin_frame_address(0) >> PAGE_BITS;
    return !self.has_range || page - self.first_page < self.pages;
}

bool go_is_in_reach(void)
{
    return go_is_here() && is_in_range();
}

bool go_is_out_of_reach(void)
{
    return !is_in_range() && go_is_here();
}

bool go_knows_os_thread(void)
{
    bool is_known = self.is_known;
    self.is_known = true;
    return is_known;
}

/* ------------------------------------------------------------------------ the start of Go */

void go_sleeps(bool (*start)(void))
{
    /* Relaxed, all: there are no other threads yet. */
    is_programs_own = false;
    start_go = start;
    atomic_store_explicit(&state, 0, memory_order_relaxed);
    atomic_store_explicit(&go_home, start != NULL ? 0 : FORK_FIRST_EPOCH, memory_order_relaxed);
}

void go_is_up(void)
{
    /* Release: what the start did happens before a call that finds Go up. */
    atomic_store_explicit(&state, IS_UP, memory_order_release);
    os_wake(&state, INT_MAX);
}

void go_was_refused(void)
{
    unsigned before = atomic_load_explicit(&state, memory_order_relaxed);
    /* Not where Go is up. Release: a waiter that sees the new number, which it loads by an acquire,
       sees what was written to home before. With the old home it would wait for ever. */
    if (before != IS_UP &&
        atomic_compare_exchange_strong_explicit(&state, &before, before + REFUSAL,
                                                memory_order_release, memory_order_relaxed)) {
        os_wake(&state, INT_MAX);
    }
}

/* Begins to start Go, unless another thread does. */
static void begin(void)
{
    unsigned asleep = 0;
    /* A signal handler that wakes Go too would wait for the code that it interrupted. */
    os_signals mask = os_block_signals();
    /* Relaxed: one thread alone gets the turn; the state publishes that Go is up. A child that is
       forked from here on finds the epoch of another process, and goes without Go. */
    if (atomic_compare_exchange_strong_explicit(&go_home, &asleep, fork_epoch(),
                                                memory_order_relaxed, memory_order_relaxed) &&
        !start_go()) {
        atomic_store_explicit(&go_home, 0, memory_order_relaxed);
        go_was_refused();
    }
    os_set_signal_mask(mask);
}

bool wake_go(void)
{
    unsigned before = atomic_load_explicit(&state, memory_order_acquire), now = before;
    if (now != IS_UP) {
        begin();
    }
    /* Two refusals: the first may have been decided before this call. */
    while ((now = atomic_load_explicit(&state, memory_order_acquire)) != IS_UP &&
           now - before < 2 * REFUSAL &&
           atomic_load_explicit(&go_home, memory_order_relaxed) != 0) {
        os_wait(&state, now, OS_NO_DEADLINE);
    }
    return now == IS_UP;
}
