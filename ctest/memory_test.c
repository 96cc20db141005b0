/*
 * memory_test.c - locks and starts of threads when malloc fails.
 */
#define _GNU_SOURCE
#include "failing_malloc.h"
#include "process.h"
#include "threads.h"

#include <pthread.h>

static int allocate_lock(void *lock)
{
    *(PyThread_type_lock *)lock = PyThread_allocate_lock();
    return *(PyThread_type_lock *)lock == NULL ? -1 : 0;
}

TEST(a_lock_without_memory_is_null_and_nothing_leaks)
{
    PyThread_type_lock lock;
    need_failing_malloc();
    long before = blocks_held;
    GE(fail_until_success(allocate_lock, &lock), 1);
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 1);
    PyThread_release_lock(lock);
    PyThread_free_lock(lock);
    EQ(blocks_held, before);
}

static PyThread_type_lock held_lock;

static int reinit_lock(void *lock)
{
    int result = _PyThread_at_fork_reinit(lock);
    if (result != 0) {
        EQ_PTR(*(PyThread_type_lock *)lock, held_lock);
    }
    return result;
}

TEST(a_lock_made_new_without_memory_is_as_it_was)
{
    need_failing_malloc();
    held_lock = PyThread_allocate_lock();
    EQ(PyThread_acquire_lock(held_lock, NOWAIT_LOCK), 1);
    PyThread_type_lock lock = held_lock;
    GE(fail_until_success(reinit_lock, &lock), 1);
    EQ(PyThread_acquire_lock(held_lock, NOWAIT_LOCK), 0);
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 1);
    PyThread_free_lock(lock);
    PyThread_free_lock(held_lock);
}

static atomic_int counter;

static int start_joinable(void)
{
    PyThread_ident_t ident = 11;
    PyThread_handle_t handle = 22;
    int result = PyThread_start_joinable_thread(count, &counter, &ident, &handle);
    if (result == 0) {
        calls_to_failure = -1;
        join(handle);
    } else {
        EQ(ident, 11);
        EQ(handle, 22);
    }
    return result;
}

static int start_detached(void)
{
    return PyThread_start_new_thread(count, &counter) == PYTHREAD_INVALID_THREAD_ID ? -1 : 0;
}

/* Starts with the first allocation failing, then with the second, and so on until none fails.
   Returns how many starts failed. */
static int failures_of(int (*start_one)(void))
{
    bool has_failed = true;
    int failures = 0;
    for (int n = 0; has_failed; n++) {
        int before = atomic_load(&counter);
        calls_to_failure = n;
        errno = 4711;
        int result = start_one();
        calls_to_failure = -1;
        EQ(errno, 4711);
        has_failed = result != 0;
        failures += has_failed;
        wait_for_count(&counter, has_failed ? before : before + 1);
        check_nothing_is_left();
    }
    return failures;
}

/* Go ends the process where it has no memory. It may want an OS thread, and memory for it, while a
   start is in Go. Then the case begins anew, in another process. */
TEST(a_start_without_memory_for_an_os_thread_of_its_own_fails_and_leaves_nothing)
{
    int status = -1;
    need_failing_malloc();
    pythread_set_reuse(PYTHREAD_REUSE_NEVER);
    for (int i = 0; i < 20 && status != 0; i++) {
        pid_t child = fork_mortal();
        if (child == 0) {
            let_go_start();
            GE(failures_of(start_joinable), 1);
            GE(failures_of(start_detached), 1);
            _exit(0);
        }
        EQ(waitpid(child, &status, 0), child);
        EQ(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT), true);
    }
    EQ(status, 0);
}

TEST(a_start_without_memory_in_the_child_of_a_fork_fails_and_leaves_nothing)
{
    need_failing_malloc();
    join(start(nothing, NULL));
    pid_t child = fork_mortal();
    if (child == 0) {
        GE(failures_of(start_joinable), 1);
        GE(failures_of(start_detached), 1);
        _exit(0);
    }
    reap(child, 0);
}
