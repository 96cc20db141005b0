/*
 * lock_test.c - every promise of pythread.h about locks, and what misuse of a lock gets.
 */
#define _GNU_SOURCE
#include "locks.h"

#include <limits.h>
#ifndef _WIN32
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#endif

TEST(a_new_lock_is_free)
{
    PyThread_type_lock lock = new_lock();
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 1);
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 0);
    PyThread_release_lock(lock);
    EQ(PyThread_acquire_lock_timed(lock, 0, 0), PY_LOCK_ACQUIRED);
    EQ(PyThread_acquire_lock_timed(lock, 0, 1), PY_LOCK_FAILURE);
    PyThread_release_lock(lock);
    PyThread_free_lock(lock);
}

TEST(any_way_to_wait_acquires_a_free_lock)
{
    static const long long waits[] = {0, 1, MINUTE, LLONG_MAX, -1, LLONG_MIN};
    static const int ways[] = {WAIT_LOCK, NOWAIT_LOCK, -5, INT_MAX, INT_MIN};
    PyThread_type_lock lock = new_lock();
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        for (int intr_flag = 0; intr_flag < 2; intr_flag++) {
            EQ(PyThread_acquire_lock_timed(lock, waits[i], intr_flag), PY_LOCK_ACQUIRED);
            PyThread_release_lock(lock);
        }
    }
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        EQ(PyThread_acquire_lock(lock, ways[i]), 1);
        PyThread_release_lock(lock);
    }
    PyThread_free_lock(lock);
}

TEST(locks_are_independent)
{
    enum { LOCKS = 10000 };
    static PyThread_type_lock locks[LOCKS];
    for (int i = 0; i < LOCKS; i++) {
        locks[i] = new_lock();
    }
    for (int i = 0; i < LOCKS; i += 2) {
        EQ(PyThread_acquire_lock(locks[i], WAIT_LOCK), 1);
    }
    for (int i = 0; i < LOCKS; i++) {
        EQ(is_held(locks[i]), i % 2 == 0);
        PyThread_free_lock(locks[i]);
    }
}

TEST(a_second_acquire_by_the_holder_waits)
{
    PyThread_type_lock lock = new_held_lock();
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 0);
    EQ(PyThread_acquire_lock_timed(lock, 20000, 0), PY_LOCK_FAILURE);
    EQ(PyThread_acquire_lock_timed(lock, 20000, 1), PY_LOCK_FAILURE);
    PyThread_release_lock(lock);
    CHECK(!is_held(lock));
    PyThread_free_lock(lock);
}

static void *release(void *lock)
{
    PyThread_release_lock(lock);
    return NULL;
}

TEST(any_thread_releases)
{
    PyThread_type_lock lock = new_held_lock();
    pthread_t thread;
    for (int i = 0; i < 100; i++) {
        EQ(pthread_create(&thread, NULL, release, lock), 0);
        EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
        EQ(pthread_join(thread, NULL), 0);
    }
    CHECK(is_held(lock));
    PyThread_free_lock(lock);
}

TEST(a_release_ends_every_kind_of_wait)
{
    static const long long waits[] = {-1, LLONG_MIN, MINUTE, LLONG_MAX};
    PyThread_type_lock lock = new_held_lock();
    struct waiter waiter;
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        for (int intr_flag = 0; intr_flag < 2; intr_flag++) {
            start_waiter(&waiter, lock, waits[i], intr_flag);
            wait_until_asleep(&waiter);
            CHECK(is_waiting(&waiter));
            PyThread_release_lock(lock);
            EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
            CHECK(is_held(lock));
        }
    }
    PyThread_free_lock(lock);
}

TEST(one_release_lets_one_waiter_in)
{
    enum { WAITERS = 8 };
    PyThread_type_lock lock = new_held_lock();
    struct waiter waiters[WAITERS];
    for (int i = 0; i < WAITERS; i++) {
        start_waiter(&waiters[i], lock, -1, 0);
    }
    for (int in = 0; in < WAITERS; in++) {
        int now = 0;
        for (int i = 0; i < WAITERS; i++) {
            wait_until_asleep(&waiters[i]);
            now += !is_waiting(&waiters[i]);
        }
        EQ(now, in);
        PyThread_release_lock(lock);
        while (now == in) {
            sleep_ms(1);
            now = 0;
            for (int i = 0; i < WAITERS; i++) {
                now += !is_waiting(&waiters[i]);
            }
        }
    }
    for (int i = 0; i < WAITERS; i++) {
        EQ(end_of(&waiters[i]), PY_LOCK_ACQUIRED);
    }
    CHECK(is_held(lock));
    PyThread_free_lock(lock);
}

TEST(timed_acquire_never_returns_early)
{
    PyThread_type_lock lock = new_held_lock();
    uint32_t random = 1;
    sleep_exactly();
    for (int i = 0; i < 1000; i++) {
        long long microseconds = 1 + next_random(&random) % (i % 10 == 0 ? 5000 : 500);
        long long begin = monotonic_ns();
        EQ(PyThread_acquire_lock_timed(lock, microseconds, i % 2), PY_LOCK_FAILURE);
        GE(monotonic_ns() - begin, microseconds * 1000);
    }
    PyThread_free_lock(lock);
}

TEST(the_longest_timeout_fits_nanoseconds)
{
    EQ(PY_TIMEOUT_MAX, LLONG_MAX / 1000);
}

TEST(a_huge_timeout_waits)
{
    const long long waits[] = {PY_TIMEOUT_MAX - 1, PY_TIMEOUT_MAX,     PY_TIMEOUT_MAX + 1,
                               LLONG_MAX / 2,      LLONG_MAX - 999999, LLONG_MAX};
    enum { WAITS = sizeof waits / sizeof *waits };
    PyThread_type_lock locks[WAITS];
    struct waiter waiters[WAITS];
    for (int i = 0; i < WAITS; i++) {
        locks[i] = new_held_lock();
        start_waiter(&waiters[i], locks[i], waits[i], i % 2);
    }
    for (int i = 0; i < WAITS; i++) {
        wait_until_asleep(&waiters[i]);
        CHECK(is_waiting(&waiters[i]));
        PyThread_release_lock(locks[i]);
        EQ(end_of(&waiters[i]), PY_LOCK_ACQUIRED);
        PyThread_free_lock(locks[i]);
    }
}

#ifndef _WIN32

TEST(a_wait_sleeps)
{
    static const long long waits[] = {-1, MINUTE};
    for (int i = 0; i < 2; i++) {
        PyThread_type_lock lock = new_held_lock();
        struct waiter waiter;
        start_waiter(&waiter, lock, waits[i], 0);
        wait_until_asleep(&waiter);
        for (int looks = 0; looks < 20; looks++) {
            CHECK(is_asleep(atomic_load(&waiter.os_thread)));
            sleep_ms(1);
        }
        PyThread_release_lock(lock);
        EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
        PyThread_free_lock(lock);
    }
}

TEST(a_free_lock_needs_no_system_call)
{
    if (UNDER_TSAN) {
        test_skip("ThreadSanitizer makes system calls of its own");
    }
    PyThread_type_lock lock = new_lock();
    pid_t child = fork();
    if (child == 0) {
        /* From here on every system call other than read, write and exit kills the process. */
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) {
            _exit(77);
        }
        for (int i = 0; i < 1000; i++) {
            static const long long waits[] = {0, 1000, -1};
            if (PyThread_acquire_lock(lock, i % 2) != 1 ||
                PyThread_acquire_lock(lock, NOWAIT_LOCK) != 0) {
                syscall(SYS_exit, 1);
            }
            PyThread_release_lock(lock);
            if (PyThread_acquire_lock_timed(lock, waits[i % 3], i % 2) != PY_LOCK_ACQUIRED) {
                syscall(SYS_exit, 1);
            }
            PyThread_release_lock(lock);
        }
        syscall(SYS_exit, 0);
    }
    int status;
    EQ(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        test_skip("no seccomp");
    }
    EQ(status, 0);
    PyThread_free_lock(lock);
}

#endif

/* ------------------------------------------------------------------------
 * Misuse
 * --------------------------------------------------------------------- */

/* Returns what func(arg) writes to stderr. The next call uses the same buffer again. */
static const char *stderr_of(void *(*func)(void *), void *arg)
{
    static char text[1000];
    int ends[2], saved = dup(STDERR_FILENO);
    EQ(pipe(ends), 0);
    NE(dup2(ends[1], STDERR_FILENO), -1);
    func(arg);
    NE(dup2(saved, STDERR_FILENO), -1);
    close(saved);
    close(ends[1]);
    ssize_t size = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    GE(size, 0);
    text[size] = '\0';
    return text;
}

static void check_one_line_about_release(const char *text)
{
    CHECK(strstr(text, "PyThread_release_lock") != NULL);
    EQ_PTR(strchr(text, '\n'), text + strlen(text) - 1);
}

TEST(release_of_a_free_lock_says_so_and_leaves_it_free)
{
    PyThread_type_lock lock = new_lock();
    for (int i = 0; i < 2; i++) {
        check_one_line_about_release(stderr_of(release, lock));
    }
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 1);
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 0);
    EQ_STR(stderr_of(release, lock), "");
    check_one_line_about_release(stderr_of(release, lock));
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 1);
    PyThread_free_lock(lock);
}

TEST(a_lock_that_is_null_is_refused)
{
    EQ(PyThread_acquire_lock(NULL, WAIT_LOCK), 0);
    EQ(PyThread_acquire_lock(NULL, NOWAIT_LOCK), 0);
    EQ(PyThread_acquire_lock_timed(NULL, -1, 0), PY_LOCK_FAILURE);
    EQ(PyThread_acquire_lock_timed(NULL, 0, 1), PY_LOCK_FAILURE);
    EQ(PyThread_acquire_lock_timed(NULL, MINUTE, 1), PY_LOCK_FAILURE);
    EQ(_PyThread_at_fork_reinit(NULL), -1);
    check_one_line_about_release(stderr_of(release, NULL));
    PyThread_free_lock(NULL);
}

TEST(a_held_lock_may_be_freed)
{
    PyThread_free_lock(new_held_lock());
    PyThread_type_lock lock = new_held_lock();
    EQ(PyThread_acquire_lock_timed(lock, 1000, 0), PY_LOCK_FAILURE);
    PyThread_free_lock(lock);
}

TEST(errno_is_preserved)
{
    enum { VALUE = 4242 };
    errno = VALUE;
    PyThread_type_lock lock = PyThread_allocate_lock();
    EQ(errno, VALUE);
    for (int intr_flag = 0; intr_flag < 2; intr_flag++) {
        EQ(PyThread_acquire_lock_timed(lock, -1, intr_flag), PY_LOCK_ACQUIRED);
        EQ(errno, VALUE);
        EQ(PyThread_acquire_lock_timed(lock, 0, intr_flag), PY_LOCK_FAILURE);
        EQ(errno, VALUE);
        EQ(PyThread_acquire_lock_timed(lock, 1000, intr_flag), PY_LOCK_FAILURE);
        EQ(errno, VALUE);
        PyThread_release_lock(lock);
        EQ(errno, VALUE);
    }
    EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
    struct waiter waiter;
    start_waiter(&waiter, lock, -1, 0);
    wait_until_asleep(&waiter);
    errno = VALUE;
    PyThread_release_lock(lock);
    EQ(errno, VALUE);
    EQ(end_of(&waiter), PY_LOCK_ACQUIRED);

    errno = VALUE;
    PyThread_type_lock held = lock;
    EQ(_PyThread_at_fork_reinit(&lock), 0);
    EQ(_PyThread_at_fork_reinit(NULL), -1);
    EQ(errno, VALUE);
    int saved = dup(STDERR_FILENO);
    close(STDERR_FILENO);
    errno = VALUE;
    PyThread_release_lock(lock); /* it is free, so the library complains, and stderr is closed */
    int after = errno;
    NE(dup2(saved, STDERR_FILENO), -1);
    close(saved);
    EQ(after, VALUE);
    errno = VALUE;
    PyThread_free_lock(lock);
    PyThread_free_lock(held);
    PyThread_free_lock(NULL);
    EQ(errno, VALUE);
}
