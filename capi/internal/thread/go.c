/*
 * go.c - knows whether this process has a Go runtime, and where it may be called.
 *
 * In a Go program, Go runs from the start. In a C program Go sleeps until the first thread starts.
 * Then it belongs to the process that has started it: the child of a fork cannot use its parent's
 * runtime. If the parent's Go sleeps at the fork, the child can start one of its own. Invariant: Go
 * is called only in the process that started it, on OS threads and stacks whose bounds it knows or
 * can read.
 *
 * Callers: dump.go, forked.c, go_start.c, go_threads.c, info.c, main_thread.c, own_os_thread.c,
 * runner.c, thread.c, trampoline.c, up_unix.go, visit.c.
 */
#define _GNU_SOURCE
#include "go.h"

#include "system/fork.h"

#include <limits.h>
#include <stdlib.h>
#ifndef _WIN32
#include <ucontext.h>
#endif

/* The epoch of the process that has started Go, or begins to start it. 0 while Go sleeps. */
#ifndef _WIN32 /* On Windows Go starts at load, and the library for C has no other one. */
__attribute__((weak))
#endif
atomic_uint go_home = FORK_FIRST_EPOCH;

/* IS_UP, or an even number. It grows by REFUSAL each time the system refuses Go an OS thread. */
enum { IS_UP = 1, REFUSAL = 2 };
static atomic_uint state = IS_UP;

static bool is_programs_own = true;
static bool (*start_go)(void);

/*
 * What Go knows of the calling OS thread. It is one word, because there is little room for
 * thread-local variables.
 *
 * When Go makes an OS thread of its own, it reads the bounds of its stack. A call of Go on another
 * stack, such as a coroutine's, then ends the process. So the bounds are noted here as a range of
 * pages. On other OS threads Go reads the bounds at each call, and there is no range. An OS thread
 * that Go has left, or is about to leave, has an empty range.
 */
THREAD_LOCAL struct {
    uint64_t first_page : 44;
    uint64_t pages : 18;
    uint64_t has_range : 1;
    uint64_t is_known : 1; /* it has called Go before */
} self;

enum { PAGE_BITS = 12 };
_Static_assert(sizeof self == sizeof(uint64_t), "this is one word");

bool go_is_here(void)
{
    /* Acquire: what the start of Go did happens before the caller's next calls. */
    return atomic_load_explicit(&go_home, memory_order_relaxed) == fork_epoch() &&
           atomic_load_explicit(&state, memory_order_acquire) == IS_UP;
}

bool go_is_lost(void)
{
    /* Relaxed: this process changes go_home only between 0 and its epoch. Neither means lost. */
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

/* False if Go must not be called: on another stack, or on an OS thread that Go has left. */
static bool is_in_range(void)
{
    if (is_programs_own) {
        /* In a Go program the OS thread most likely is Go's. */
        go_made_os_thread();
    }
    uint64_t page = (uintptr_t)__builtin_frame_address(0) >> PAGE_BITS;
    return !self.has_range || page - self.first_page < self.pages;
}

uintptr_t go_stack_end(void)
{
    return self.pages != 0 && is_in_range() ? (uintptr_t)self.first_page << PAGE_BITS : 0;
}

bool go_is_in_reach(void)
{
    return go_is_here() && is_in_range();
}

bool go_is_out_of_reach(void)
{
    return !is_in_range() && go_is_here();
}

void go_leave_stack(void (*func)(void))
{
#ifndef _WIN32 /* There Go is in reach on any stack. */
    if (!is_in_range()) {
        /* How much of the own stack is in use is not known, and makes no difference. */
        ucontext_t context;
        getcontext(&context);
        context.uc_stack.ss_sp = (void *)((uintptr_t)self.first_page << PAGE_BITS);
        context.uc_stack.ss_size = (size_t)self.pages << PAGE_BITS >> 1;
        context.uc_link = NULL;
        makecontext(&context, func, 0);
        setcontext(&context);
    }
#endif
    func();
    abort();
}

bool go_knows_os_thread(void)
{
    return self.is_known;
}

void go_meets_os_thread(void)
{
    self.is_known = true;
}

/* ------------------------------------------------------------------------ the start of Go */

void go_sleeps(bool (*start)(void))
{
    /* Relaxed, all: no other thread exists yet. */
    is_programs_own = false;
    start_go = start;
    atomic_store_explicit(&state, 0, memory_order_relaxed);
    atomic_store_explicit(&go_home, start != NULL ? 0 : FORK_FIRST_EPOCH, memory_order_relaxed);
}

void go_is_up(void)
{
    /* Release: pairs with the acquire in go_is_here and wake_go. */
    atomic_store_explicit(&state, IS_UP, memory_order_release);
    os_wake(&state, INT_MAX);
}

void go_was_refused(void)
{
    unsigned before = atomic_load_explicit(&state, memory_order_relaxed);
    /* Nothing to do if Go runs. Release: a waiter that loads the new number, by an acquire, sees
       the earlier store to go_home. With the old value it would wait for ever. */
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
    /* A signal handler that also wakes Go would wait for the code that it interrupted. */
    os_signals mask = os_block_signals();
    /* Relaxed: only one thread makes this exchange, and the state publishes that Go runs. A child
       that is forked after the exchange finds its parent's epoch in go_home, and never has Go. */
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
    /* Two refusals, because the first may belong to a request from before this call. */
    while ((now = atomic_load_explicit(&state, memory_order_acquire)) != IS_UP &&
           now - before < 2 * REFUSAL &&
           atomic_load_explicit(&go_home, memory_order_relaxed) == fork_epoch()) {
        os_wait(&state, now, OS_NO_DEADLINE);
    }
    return now == IS_UP;
}
