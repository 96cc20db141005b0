//go:build linux

/*
 * main_thread.c - ends the process after its main thread has called pthread_exit.
 *
 * Such a process ends when its last thread ends. But Go's OS threads never end. So the last
 * destructor of the main thread waits until only Go's OS threads are left. Then it ends the process
 * as the C library would. If the system does not say how many OS threads there are, the
 * process goes on.
 */
#define _GNU_SOURCE
#include "go_threads.h"

#include "thread/go.h"
#include "system/os.h"
#include "thread/own_os_thread.h"

#include <pthread.h>
#include <stdlib.h>

static bool others_are_gone(void)
{
    pythread_stats stats;
    size_t count = os_thread_count();
    /* The child of a fork has none of Go's OS threads. */
    size_t others =
        go_is_here() ? (size_t)atomic_load_explicit(&go_threads_count, memory_order_relaxed) : 0;
    pythread_get_stats(&stats, sizeof stats);
    return stats.threads == 0 && count == others + 1;
}

static void main_ends(void)
{
    int64_t pause = OS_MILLISECOND;
    while (!others_are_gone()) {
        os_sleep(pause);
        pause = pause < 64 * OS_MILLISECOND ? pause * 2 : pause;
    }
    exit(0);
}

__attribute__((constructor)) static void at_load(void)
{
    own_main_ends = main_ends;
    if (os_is_main_thread()) {
        own_watch_caller();
    }
    /* The thread that forks is the child's main thread. */
    pthread_atfork(NULL, NULL, own_watch_caller);
}
