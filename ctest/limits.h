/*
 * limits.h - a process that may have few OS threads, and threads that are started until a limit is
 * reached, and wait at a door each.
 */
#ifndef LIMITS_H
#define LIMITS_H

#include "process.h"
#include "threads.h"

#include <linux/capability.h>
#include <sys/prctl.h>

/* Becomes a user that has no other process, since the limit counts a user's processes and does not
   hold for root. If it was root, it keeps the right to read all files, so that exec works. */
static inline void become_a_user_without_processes(void)
{
    const uint32_t reads = 1U << CAP_DAC_READ_SEARCH;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct kept[2] = {{reads, reads, reads}};
    uid_t user = 100000 + (uid_t)getpid();
    if (geteuid() != 0) {
        if (unshare(CLONE_NEWUSER) != 0) {
            test_skip("neither root nor allowed a user namespace");
        }
        return;
    }
    EQ(prctl(PR_SET_KEEPCAPS, 1), 0);
    EQ(setresuid(user, user, user), 0);
    EQ(syscall(SYS_capset, &header, kept), 0);
    EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0), 0);
}

enum { MOST = 20000 };

/* Thread i waits at door i. */
static sem_t doors[MOST];
static PyThread_handle_t handles[MOST];
static atomic_int inside;

static inline void wait_inside(void *door)
{
    count(&inside);
    wait_at_door(door);
    atomic_fetch_sub(&inside, 1);
}

static inline void wait_until_inside(int expected)
{
    for (int i = 0; i < 40000 && atomic_load(&inside) != expected; i++) {
        sleep_ms(1);
    }
    EQ(atomic_load(&inside), expected);
}

/* Starts a thread that waits at door i. If none can be started, it returns an error and changes
   nothing. */
static inline int start_at(int i)
{
    PyThread_ident_t ident = 11;
    handles[i] = 22;
    errno = 33;
    EQ(sem_init(&doors[i], 0, 0), 0);
    int result = PyThread_start_joinable_thread(wait_inside, &doors[i], &ident, &handles[i]);
    if (result != 0) {
        EQ(result, -1);
        EQ(ident, 11);
        EQ(handles[i], 22);
    }
    EQ(errno, 33);
    return result;
}

static atomic_int ran;

/* Starts threads at the doors from begin to end, or until no thread of any kind can be started.
   Returns the first door without a thread. */
static inline int start_all(int begin, int end)
{
    int next = begin, detached = 0;
    while (next < end) {
        if (start_at(next) == 0) {
            next++;
        } else if (PyThread_start_new_thread(count, &ran) != PYTHREAD_INVALID_THREAD_ID) {
            detached++;
        } else {
            break;
        }
    }
    wait_for_count(&ran, detached);
    atomic_store(&ran, 0);
    return next;
}

static inline void join_range(int begin, int end)
{
    for (int i = begin; i < end; i++) {
        EQ(sem_post(&doors[i]), 0);
    }
    for (int i = begin; i < end; i++) {
        join(handles[i]);
    }
}

/* The system may need a moment to free an OS thread that has ended. */
static inline void start_again_at(int i)
{
    int result = -1;
    for (int tries = 0; tries < 20000 && result != 0; tries++) {
        if ((result = start_at(i)) != 0) {
            sleep_ms(1);
        }
    }
    EQ(result, 0);
}

/* Checks all that is promised at a limit that lets fewer than `most` threads start, several times.
 */
static inline void check_limit(int most)
{
    for (int round = 0; round < 3; round++) {
        pythread_stats stats;
        int count = start_all(0, most);
        GE(count, 1);
        LT(count, most);
        wait_until_inside(count);
        /* A detached thread ends a little after it has counted. */
        for (int i = 0; i < 20000; i++) {
            pythread_get_stats(&stats, sizeof stats);
            if (stats.threads == (size_t)count) {
                break;
            }
            sleep_ms(1);
        }
        EQ(stats.threads, count);
        EQ(stats.handles, count);
        int third = (count + 2) / 3;
        join_range(0, third);
        for (int i = 0; i < third; i++) {
            start_again_at(i);
        }
        join_range(0, count);
        check_nothing_is_left();
    }
}

#endif
