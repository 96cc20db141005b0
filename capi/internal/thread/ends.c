/*
 * ends.c - counts of ended threads, on which joins wait.
 *
 * Invariant: a join that waits adds itself to `joins` before it loads `ends`, and an end changes
 * `ends` before it loads `joins`. All are sequentially consistent. So the end sees the join, or the
 * join sees the new count.
 *
 * Callers: forked.c, own_os_thread.c, quick.c, runner.c, thread.c, thread.go.
 */
#include "ends.h"

#include <errno.h>
#include <limits.h>

struct end_count end_counts[END_COUNTS];

void ends_wait(PyThread_ident_t ident, unsigned seen, int64_t deadline)
{
    struct end_count *count = end_count_of(ident);
    atomic_fetch_add_explicit(&count->joins, 1, memory_order_seq_cst);
    while (atomic_load_explicit(&count->ends, memory_order_seq_cst) == seen &&
           os_wait(&count->ends, seen, deadline) != ETIMEDOUT) {
    }
    /* Sequentially consistent: see put in own_os_thread.c. */
    atomic_fetch_sub_explicit(&count->joins, 1, memory_order_seq_cst);
}

void ends_wake(PyThread_ident_t ident)
{
    os_wake(&end_count_of(ident)->ends, INT_MAX);
}

bool ends_count(PyThread_ident_t ident)
{
    struct end_count *count = end_count_of(ident);
    atomic_fetch_add_explicit(&count->ends, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&count->joins, memory_order_seq_cst) == 0) {
        return false;
    }
    ends_wake(ident);
    return true;
}

void ends_begin_in_child(void)
{
    for (int i = 0; i < END_COUNTS; i++) {
        /* Relaxed: only the caller waits, after the signal handler that has forked. */
        atomic_fetch_add_explicit(&end_counts[i].ends, 1, memory_order_relaxed);
    }
}
