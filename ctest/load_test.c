/*
 * load_test.c - the library under load (load.h) for some seconds.
 */
#define _GNU_SOURCE
#include "load.h"

enum { SECONDS = 5 };

TEST(threads_in_sequence_take_no_memory)
{
    load_sequence(SECONDS, 1000000);
}

TEST(detached_threads_take_no_memory)
{
    load_detached(SECONDS, 1000000);
}

TEST(threads_with_locks_and_storage_take_no_memory)
{
    load_mixed(SECONDS);
}
