/*
 * load_stress_test.c - the library under load (load.h) for the seconds of PYTHREAD_STRESS_SECONDS.
 */
#define _GNU_SOURCE
#include "load.h"

static int seconds(void)
{
    const char *wanted = getenv("PYTHREAD_STRESS_SECONDS");
    return wanted != NULL && atoi(wanted) > 0 ? atoi(wanted) : 60;
}

TEST(ten_million_threads_in_sequence_take_no_memory)
{
    load_sequence(seconds() + 200, 10000000);
}

TEST(a_million_detached_threads_take_no_memory)
{
    load_detached(seconds() + 200, 1000000);
}

TEST(threads_with_locks_and_storage_take_no_memory)
{
    load_mixed(seconds());
}
