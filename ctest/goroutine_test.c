/*
 * goroutine_test.c - a thread runs on a goroutine. Only a Go program can look at goroutines, so
 * this test is built for the host alone: ctest/host/goroutine.go.
 */
#define _GNU_SOURCE
#include "threads.h"

/* The handle that runs with this ident on a goroutine; 0: none. */
uint64_t host_running_handle(uint64_t ident);

static void see_handle(void *ident_of_handle)
{
    *(uint64_t *)ident_of_handle = host_running_handle(PyThread_get_thread_ident_ex());
}

TEST(a_thread_runs_on_the_goroutine_whose_handle_has_its_ident)
{
    PyThread_ident_t ident;
    PyThread_handle_t handle;
    uint64_t inside;
    for (int i = 0; i < 100; i++) {
        EQ(PyThread_start_joinable_thread(see_handle, &inside, &ident, &handle), 0);
        join(handle);
        EQ(inside, ident);
        EQ(host_running_handle(ident), 0);
    }
}
