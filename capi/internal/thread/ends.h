/*
 * ends.h - counts of ended threads, on which joins wait.
 *
 * A thread's ident selects the count that its end changes. A join loads the count, then checks
 * whether the thread has ended, and then waits for the count to change. So it misses no end, but
 * the end of another thread may wake it.
 */
#ifndef ENDS_H
#define ENDS_H

#include "system/os.h"
#include "pythread.h"

#include <stdatomic.h>
#include <stdbool.h>

enum { END_COUNTS = 64 };
extern struct end_count {
    _Alignas(64) atomic_uint ends;
    atomic_uint joins; /* how many joins wait here */
} end_counts[END_COUNTS];

static inline struct end_count *end_count_of(PyThread_ident_t ident)
{
    return &end_counts[ident % END_COUNTS];
}

/* Returns the count, for ends_wait. Acquire: the check of the thread comes after this load. */
static inline unsigned ends_seen(PyThread_ident_t ident)
{
    return atomic_load_explicit(&end_count_of(ident)->ends, memory_order_acquire);
}

/* Waits until the count has changed, or until the deadline. */
void ends_wait(PyThread_ident_t ident, unsigned seen, int64_t deadline);

/* Wakes the joins that wait. */
void ends_wake(PyThread_ident_t ident);

/* Counts the end of the thread, and wakes the joins that wait. False if none waits. */
bool ends_count(PyThread_ident_t ident);

/* Ends the wait of a join that the fork of this process has interrupted: in the child no thread of
   the parent ends. */
void ends_begin_in_child(void);

#endif
