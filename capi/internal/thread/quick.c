/*
 * quick.c - recognizes a thread that starts and joins threads, one directly after the other.
 *
 * A join of the thread that the caller has started last waits up to a millisecond before it enters
 * Go. Many threads end within that time, and then the join enters Go once, not twice.
 *
 * A start is quick if it comes directly after the join of the caller's last thread. The goroutine
 * of a quick thread spins for the next thread before it sleeps (runner.c), and the join spins for
 * the end before it sleeps. Both spin for about as long as a sleep and a wake-up take, and not at
 * all on one processor.
 *
 * A miss is a join that has spun without success. After a miss, some starts are not quick: twice as
 * many as after the miss before, up to 2^MOST_MISSES.
 *
 * Invariant: all of this is a hint. So a few bits of each number suffice, and a wrong match costs
 * one spin. The bits are few because libraries that dlopen loads have little thread-local storage.
 *
 * Callers: thread.c.
 */
#include "quick.h"

#include "ends.h"
#include "system/os.h"

#include <stdint.h>

enum { NEXT_US = 5, END_NS = 50000, SLEEP_NS = 1000000, MOST_MISSES = 5 };

/* The last thread that the calling thread has started. */
THREAD_LOCAL struct {
    uint16_t thread; /* the low bits of its ident */
    uint16_t ends;   /* the low bits of the count of its end, before the start */
    uint16_t joined; /* the low bits of the time of its join, in us */
    uint8_t pauses;  /* how many of the next starts are not quick */
    uint8_t misses : 5, is_quick : 1, is_joined : 1;
} last;

/* The time in units of 1,024 ns. */
static uint16_t now(void)
{
    return (uint16_t)(os_now_ns() >> 10);
}

bool quick_start(void)
{
    if (!last.is_joined || os_processors() == 1) {
        return false;
    }
    bool is_quick = (uint16_t)(now() - last.joined) < NEXT_US;
    last.is_joined = false;
    if (is_quick && last.pauses > 0) {
        last.pauses--;
        return false;
    }
    return is_quick;
}

void quick_started(PyThread_ident_t ident, unsigned ends, bool is_quick)
{
    last.thread = (uint16_t)ident;
    last.ends = (uint16_t)ends;
    last.is_quick = is_quick;
}

/* Spins for the end of the last thread, after a quick start. The low bits of the ident select the
   count. */
static void spin(void)
{
    struct os_spin spin = os_spin_begin(END_NS);
    bool has_ended;
    while (!(has_ended = (uint16_t)ends_seen(last.thread) != last.ends) && os_spin(&spin)) {
    }
    if (has_ended) {
        last.misses = 0;
    } else {
        last.misses += last.misses < MOST_MISSES;
        last.pauses = (uint8_t)(1U << last.misses);
    }
}

void quick_wait(PyThread_handle_t handle)
{
    if (last.thread != (uint16_t)handle) {
        return;
    }
    if (last.is_quick) {
        spin();
    }
    unsigned seen = ends_seen(handle);
    if ((uint16_t)seen == last.ends) {
        ends_wait(handle, seen, os_deadline_in(SLEEP_NS));
    }
}

void quick_joined(PyThread_handle_t handle)
{
    if (last.thread == (uint16_t)handle) {
        last.joined = now();
        last.is_joined = true;
    }
}
