/*
 * clean_stress_test.c - PYTHREAD_REUSE_CLEAN (habits.h) with a million threads.
 */
#define _GNU_SOURCE
#include "habits.h"

TEST(a_million_threads_of_mixed_habits_cannot_tell_that_their_os_threads_were_used)
{
    begin();
    run_mixed_threads(1000000);
    check_nothing_is_left();
}

TEST(a_hundred_thousand_threads_that_exit_leave_nothing)
{
    begin();
    run_threads_in_turn(100000, NOTHING, NOTHING + 1, BY_EXIT_THREAD, BY_PTHREAD_EXIT + 1);
}

TEST(a_hundred_thousand_threads_that_are_cancelled_leave_nothing)
{
    begin();
    run_threads_in_turn(100000, NOTHING, NOTHING + 1, BY_CANCEL, BY_CANCEL + 1);
}

TEST(a_hundred_thousand_threads_that_leave_something_leave_nothing_in_the_process)
{
    begin();
    run_threads_in_turn(100000, VARIABLE, HABITS, BY_RETURN, BY_RETURN + 1);
}
