/*
 * context_test.c - where a function of the library may be called from: docs/contexts.md is the
 * table of what holds, and names the case that shows each row.
 */
#define _GNU_SOURCE
#include "mains_signals.h"
#include "process.h"

/* ------------------------------------------------------------------------ signals to the process
 */

TEST(a_thread_that_ends_takes_no_signal_of_the_process)
{
    wait_for_signals(kill_and_end);
}

static void end_os_threads(long unused)
{
    (void)unused;
    EQ(pthread_key_create(&key_of_process, destroy_nothing), 0);
    wait_for_signals(leave_a_value_and_kill);
}

TEST(a_thread_that_ends_with_its_os_thread_takes_no_signal_of_the_process)
{
    /* On one processor main has not run yet when the thread ends. */
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(sched_getcpu(), &first);
    EQ(sched_setaffinity(0, sizeof first, &first), 0);
    run_in_process(end_os_threads, 0);
}

TEST(a_thread_that_joins_takes_no_signal_of_the_process)
{
    wait_for_signals(kill_and_join);
}
