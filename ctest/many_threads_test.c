/*
 * many_threads_test.c - very many threads block at once, more than the 10,000 OS threads that Go
 * has by default.
 */
#define _GNU_SOURCE
#include "limits.h"

static void check_many(int count)
{
    pythread_stats stats;
    struct rlimit processes;
    int most = start_all(0, count);
    if (most < count) {
        join_range(0, most);
        check_nothing_is_left();
        EQ(getrlimit(RLIMIT_NPROC, &processes), 0);
        test_skip("the system has no more than %d threads (RLIMIT_NPROC is %ld)", most,
                  (long)processes.rlim_cur);
    }
    wait_until_inside(count);
    pythread_get_stats(&stats, sizeof stats);
    EQ(stats.threads, count);
    EQ(stats.handles, count);
    join_range(0, count);
    check_nothing_is_left();
    EQ(atomic_load(&inside), 0);
}

TEST(more_threads_block_at_once_than_the_go_runtime_would_have)
{
    check_many(10500);
}

TEST(twenty_thousand_threads_block_at_once)
{
    test_skip_under_asan("it takes a minute to start so many, and 10,500 show it the same");
    check_many(20000);
}
