/*
 * quick.c - threads that one thread starts and joins, one right after the other.
 *
 * Such threads need no scheduler: Go's takes longer than they run. A start is quick where it comes
 * right after the join of the caller's last thread. The goroutine of a quick thread looks for the
 * next one before it sleeps (runner.c), and the join looks for the end before it sleeps. Both look
 * for about as long as sleep and wake-up take, and not at all where there is one processor.
 *
 * A join that has looked for nothing makes the next starts not quick: twice as many each time, up
 * to 2^MOST_VAIN.
 *
 * Invariant: all of this is advice. So a few bits of each number suffice, and a wrong match costs a
 * look. They are few because thread-local storage is scarce in libraries that dlopen loads.
 *
 * thread.c calls this. It calls ends.h and os.h.
 */
#include "quick.h"

#include "ends.h"
#include "system/os.h"

#include <stdint.h>

enum { NEXT_US = 5, END_NS = 50000, MOST_VAIN = 5 };

/* The last thread that the calling thread has started. */
THREAD_LOCAL struct {
    uint16_t thread; /* its ident, the low bits */
    uint16_t ends;   /* the count of its end before the start, the low bits */
    uint16_t joined; /* when it was joined, in us, the low bits */
    uint8_t pauses;  /* how many of the next starts are not quick */
    uint8_t vain : 5, is_quick : 1, is_joined : 1;
} last;

/* Nearly microseconds. */
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

void quick_look(PyThread_handle_t handle)
{
    if (!last.is_quick || last.thread != (uint16_t)handle) {
        return;
    }
    struct os_spin spin = os_spin_begin(END_NS);
    bool has_ended;
    while (!(has_ended = (uint16_t)ends_seen(handle) != last.ends) && os_spin(&spin)) {
    }
    if (has_ended) {
        last.vain = 0;
    } else {
        last.vain += last.vain < MOST_VAIN;
        last.pauses = (uint8_t)(1U << last.vain);
    }
}

void quick_joined(PyThread_handle_t handle)
{
    if (last.thread == (uint16_t)handle) {
        last.joined = now();
        last.is_joined = true;
    }
}
