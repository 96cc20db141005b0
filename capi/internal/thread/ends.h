/*
 * ends.h - counts of ended threads, on which joins wait.
 *
 * A thread's ident says which of the counts its end changes. A join looks at the count, then
 * whether the thread has ended, and then waits for the count to change. So it misses no end, and
 * may be woken by that of another thread.
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
    atomic_uint joins; /* that wait here */
} end_counts[END_COUNTS];

static inline struct end_count *end_count_of(PyThread_ident_t ident)
{
    return &end_counts[ident % END_COUNTS];
}

/* The count, for ends_wait. Acquire: the look at the thread comes after that at the count. */
static inline unsigned ends_seen(PyThread_ident_t ident)
{
    return atomic_load_explicit(&end_count_of(ident)->ends, memory_order_acquire);
}

/* Waits until the count has changed. */
void ends_wait(PyThread_ident_t ident, unsigned seen);

/* Wakes the joins that wait. */
void ends_wake(PyThread_ident_t ident);

/* Counts the end of the thread, and wakes the joins that wait. False where none does. */
bool ends_count(PyThread_ident_t ident);

#endif
