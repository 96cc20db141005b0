/*
 * lock_test.c - locks, on plain pthreads, so that the tests need no thread of the library. They
 * check every promise of pythread.h. In the stress cases a lock that let two in shows as a wrong
 * count, and a lost wake-up as a case that does not end.
 */
#define _GNU_SOURCE
#include "process.h"
#include "pthreads.h"
#include "pythread.h"

#include <limits.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#ifndef _WIN32
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#endif

#define MINUTE 60000000LL

#ifndef _WIN32
static bool under_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded != NULL && strstr(preloaded, "vgpreload") != NULL;
}
#endif

/* Has the kernel not round the caller's sleeps up, which would hide a deadline that is a little
 * early. */
static void sleep_exactly(void)
{
#ifndef _WIN32
    prctl(PR_SET_TIMERSLACK, 1UL);
#endif
}

static void idle(uint32_t steps)
{
    for (volatile uint32_t i = 0; i < steps; i++) {
    }
}

static PyThread_type_lock new_lock(void)
{
    PyThread_type_lock lock = PyThread_allocate_lock();
    CHECK(lock != NULL);
    return lock;
}

static PyThread_type_lock new_held_lock(void)
{
    PyThread_type_lock lock = new_lock();
    EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
    return lock;
}

static bool is_held(PyThread_type_lock lock)
{
    if (PyThread_acquire_lock(lock, NOWAIT_LOCK) == 0) {
        return true;
    }
    PyThread_release_lock(lock);
    return false;
}

/* A thread that waits for a lock, and how its wait ended. */
struct waiter {
    PyThread_type_lock lock;
    long long microseconds;
    int intr_flag;
    pthread_t thread;
    atomic_int status; /* WAITING, and then a PyLockStatus */
    long long waited;  /* in ns */
    long long worked;  /* the part of it that was spent on a processor */
};

enum { WAITING = -1 };

static long long worked_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void *wait_for_lock(void *arg)
{
    struct waiter *waiter = arg;
    long long begin = monotonic_ns(), worked = worked_ns();
    PyLockStatus status =
        PyThread_acquire_lock_timed(waiter->lock, waiter->microseconds, waiter->intr_flag);
    waiter->worked = worked_ns() - worked;
    waiter->waited = monotonic_ns() - begin;
    atomic_store(&waiter->status, (int)status);
    return NULL;
}

static void start_waiter(struct waiter *waiter, PyThread_type_lock lock, long long microseconds,
                         int intr_flag)
{
    *waiter = (struct waiter){.lock = lock, .microseconds = microseconds, .intr_flag = intr_flag};
    atomic_init(&waiter->status, WAITING);
    EQ(pthread_create(&waiter->thread, NULL, wait_for_lock, waiter), 0);
}

static bool is_waiting(struct waiter *waiter)
{
    return atomic_load(&waiter->status) == WAITING;
}

static int end_of(struct waiter *waiter)
{
    EQ(pthread_join(waiter->thread, NULL), 0);
    return atomic_load(&waiter->status);
}

/* What the threads of a case share. */
static PyThread_type_lock shared_lock;
static long shared_count; /* guarded by shared_lock */

/* ------------------------------------------------------------------------
 * Contracts
 * --------------------------------------------------------------------- */

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
            sleep_ms(20);
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
        int now;
        PyThread_release_lock(lock);
        do {
            sleep_ms(5);
            now = 0;
            for (int i = 0; i < WAITERS; i++) {
                now += !is_waiting(&waiters[i]);
            }
        } while (now == in);
        EQ(now, in + 1);
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
    sleep_ms(200);
    for (int i = 0; i < WAITS; i++) {
        CHECK(is_waiting(&waiters[i]));
        PyThread_release_lock(locks[i]);
        EQ(end_of(&waiters[i]), PY_LOCK_ACQUIRED);
        PyThread_free_lock(locks[i]);
    }
}

TEST(a_wait_sleeps)
{
    static const long long waits[] = {-1, MINUTE};
    for (int i = 0; i < 2; i++) {
        PyThread_type_lock lock = new_held_lock();
        struct waiter waiter;
        start_waiter(&waiter, lock, waits[i], 0);
        sleep_ms(1000);
        PyThread_release_lock(lock);
        EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
        LT(waiter.worked, waiter.waited / 4);
        PyThread_free_lock(lock);
    }
}

#ifndef _WIN32
TEST(a_free_lock_needs_no_system_call)
{
    if (UNDER_TSAN || under_valgrind()) {
        test_skip("ThreadSanitizer and valgrind make system calls of their own");
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
    sleep_ms(20);
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

#ifndef _WIN32

static atomic_bool stop;

/* ------------------------------------------------------------------------
 * Signals
 * --------------------------------------------------------------------- */

static void ignore_signal(int signal)
{
    (void)signal;
}

static void handle_signal(void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigemptyset(&action.sa_mask);
    EQ(sigaction(SIGUSR1, &action, NULL), 0);
}

/* A signal that comes before the wait does not end it, so signals are sent until the wait has
   ended. */
static int interrupt(struct waiter *waiter)
{
    while (is_waiting(waiter)) {
        pthread_kill(waiter->thread, SIGUSR1);
        sleep_ms(1);
    }
    return end_of(waiter);
}

static void check_still_waiting_after_signals(struct waiter *waiter)
{
    for (int i = 0; i < 100; i++) {
        pthread_kill(waiter->thread, SIGUSR1);
        sleep_ms(1);
        CHECK(is_waiting(waiter));
    }
}

TEST(a_handler_ends_an_interruptible_wait)
{
    static const struct {
        long long microseconds;
        int flags;
    } waits[] = {{-1, 0}, {LLONG_MIN, 0}, {MINUTE, 0}, {MINUTE, SA_RESTART}, {LLONG_MAX, 0}};
    PyThread_type_lock lock = new_held_lock();
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        struct waiter waiter;
        handle_signal(ignore_signal, waits[i].flags);
        start_waiter(&waiter, lock, waits[i].microseconds, i % 2 == 0 ? 1 : -1);
        EQ(interrupt(&waiter), PY_LOCK_INTR);
        CHECK(is_held(lock));
    }
    PyThread_free_lock(lock);
}

TEST(a_restarting_handler_does_not_end_a_wait_for_ever)
{
    PyThread_type_lock lock = new_held_lock();
    struct waiter waiter;
    handle_signal(ignore_signal, SA_RESTART);
    start_waiter(&waiter, lock, -1, 1);
    check_still_waiting_after_signals(&waiter);
    PyThread_release_lock(lock);
    EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
    PyThread_free_lock(lock);
}

TEST(no_handler_ends_an_uninterruptible_wait)
{
    static const int flags[] = {0, SA_RESTART};
    for (int i = 0; i < 4; i++) {
        PyThread_type_lock lock = new_held_lock();
        struct waiter waiter;
        handle_signal(ignore_signal, flags[i % 2]);
        start_waiter(&waiter, lock, i < 2 ? -1 : MINUTE, 0);
        check_still_waiting_after_signals(&waiter);
        PyThread_release_lock(lock);
        EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
        PyThread_free_lock(lock);
    }
}

/* If each signal restarted the timeout, the wait would never end. */
TEST(handlers_move_no_deadline)
{
    static const int flags[] = {0, SA_RESTART};
    PyThread_type_lock lock = new_held_lock();
    for (int i = 0; i < 2; i++) {
        struct waiter waiter;
        handle_signal(ignore_signal, flags[i]);
        start_waiter(&waiter, lock, 500000, 0);
        EQ(interrupt(&waiter), PY_LOCK_FAILURE);
        GE(waiter.waited, 500000000);
    }
    PyThread_free_lock(lock);
}

static atomic_int handler_state;

/* A handler that returns only when the lock is free. */
static void wait_for_release(int signal)
{
    (void)signal;
    int expected = 0;
    if (atomic_compare_exchange_strong(&handler_state, &expected, 1)) {
        while (atomic_load(&handler_state) == 1) {
            sched_yield();
        }
    }
}

TEST(success_beats_a_signal)
{
    static const long long waits[] = {-1, MINUTE};
    if (UNDER_TSAN) {
        test_skip("ThreadSanitizer runs handlers later");
    }
    handle_signal(wait_for_release, 0);
    for (int i = 0; i < 20; i++) {
        PyThread_type_lock lock = new_held_lock();
        struct waiter waiter;
        atomic_store(&handler_state, 0);
        start_waiter(&waiter, lock, waits[i % 2], 1);
        sleep_ms(2);
        pthread_kill(waiter.thread, SIGUSR1);
        while (atomic_load(&handler_state) == 0) {
            sched_yield();
        }
        PyThread_release_lock(lock);
        atomic_store(&handler_state, 2);
        EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
        CHECK(is_held(lock));
        PyThread_free_lock(lock);
    }
}

/* ------------------------------------------------------------------------
 * Forks
 * --------------------------------------------------------------------- */

/* Runs func(arg) in a child and returns its wait status: 0 if every assertion held. */
static int in_child(void (*func)(void *), void *arg)
{
    pid_t child = fork();
    int status;
    GE(child, 0);
    if (child == 0) {
        alarm(60);
        func(arg);
        _exit(0);
    }
    EQ(waitpid(child, &status, 0), child);
    return status;
}

static void *hold_and_hang(void *lock)
{
    EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
    for (;;) {
        pause();
    }
    return NULL;
}

static void use_lock_of_vanished_thread(void *lock)
{
    PyThread_type_lock old = lock;
    long long begin = monotonic_ns();
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 0);
    EQ(PyThread_acquire_lock_timed(lock, 100000, 0), PY_LOCK_FAILURE);
    EQ(PyThread_acquire_lock_timed(lock, 100000, 1), PY_LOCK_FAILURE);
    GE(monotonic_ns() - begin, 200000000);
    EQ(_PyThread_at_fork_reinit(&lock), 0);
    NE((intptr_t)lock, (intptr_t)old);
    EQ(PyThread_acquire_lock_timed(lock, 100000, 0), PY_LOCK_ACQUIRED);
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 0);
    PyThread_release_lock(lock);
    PyThread_free_lock(lock);
}

TEST(a_child_can_do_without_a_thread_that_holds_a_lock)
{
    PyThread_type_lock lock = new_lock();
    struct waiter waiter;
    pthread_t holder;
    EQ(pthread_create(&holder, NULL, hold_and_hang, lock), 0);
    while (!is_held(lock)) {
        sleep_ms(1);
    }
    EQ(in_child(use_lock_of_vanished_thread, lock), 0);
    start_waiter(&waiter, lock, -1, 0);
    sleep_ms(20);
    EQ(in_child(use_lock_of_vanished_thread, lock), 0);
    CHECK(is_waiting(&waiter));
    PyThread_release_lock(lock);
    EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
}

static atomic_int started;

static void *contend_until_stopped(void *arg)
{
    uint32_t random = (uint32_t)(intptr_t)arg + 1;
    atomic_fetch_add(&started, 1);
    while (!atomic_load(&stop)) {
        if (PyThread_acquire_lock_timed(shared_lock, next_random(&random) % 3 == 0 ? 50 : -1, 0) ==
            PY_LOCK_ACQUIRED) {
            idle(next_random(&random) % 200);
            PyThread_release_lock(shared_lock);
        }
    }
    return NULL;
}

enum { CHILD_THREADS = 4, CHILD_ROUNDS = 500 / SLOWER };

static void *count_in_child(void *arg)
{
    (void)arg;
    for (int i = 0; i < CHILD_ROUNDS; i++) {
        EQ(PyThread_acquire_lock(shared_lock, WAIT_LOCK), 1);
        shared_count++;
        PyThread_release_lock(shared_lock);
    }
    return NULL;
}

/* The thread that forked holds the lock. The other threads were doing something or other with it.
 */
static void go_on_with_lock(void *arg)
{
    (void)arg;
    EQ(PyThread_acquire_lock(shared_lock, NOWAIT_LOCK), 0);
    PyThread_release_lock(shared_lock);
    EQ(PyThread_acquire_lock(shared_lock, NOWAIT_LOCK), 1);
    PyThread_release_lock(shared_lock);
    if (UNDER_TSAN) {
        count_in_child(NULL);
    } else {
        run_threads(CHILD_THREADS, count_in_child);
        EQ(shared_count, CHILD_THREADS * CHILD_ROUNDS);
    }
}

TEST(a_child_goes_on_with_a_lock_that_others_wait_for)
{
    enum { THREADS = 6, FORKS = 50 / SLOWER };
    pthread_t threads[THREADS];
    let_go_start();
    shared_lock = new_lock();
    for (intptr_t i = 0; i < THREADS; i++) {
        EQ(pthread_create(&threads[i], NULL, contend_until_stopped, (void *)i), 0);
    }
    /* Fork only after this: a sanitizer may hold a lock of its own while a thread starts. */
    while (atomic_load(&started) < THREADS) {
        sleep_ms(1);
    }
    for (int i = 0; i < FORKS; i++) {
        EQ(PyThread_acquire_lock(shared_lock, WAIT_LOCK), 1);
        idle((uint32_t)i * 1000);
        EQ(in_child(go_on_with_lock, NULL), 0);
        PyThread_release_lock(shared_lock);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++) {
        EQ(pthread_join(threads[i], NULL), 0);
    }
    PyThread_free_lock(shared_lock);
}

#endif

/* ------------------------------------------------------------------------
 * Stress
 * --------------------------------------------------------------------- */

#ifdef _WIN32 /* It has no signals for threads. */

#define mask_signal(how)
#define run_threads_under_signals(count, run, flags) run_threads(count, run)

#else

static void mask_signal(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    EQ(pthread_sigmask(how, &set, NULL), 0);
}

static void *send_signals(void *arg)
{
    sleep_exactly();
    while (!atomic_load(&stop)) {
        kill(getpid(), SIGUSR1);
        nanosleep(&(struct timespec){0, 20000}, NULL);
    }
    return arg;
}

/* run_threads with a storm of signals. Each goes to one of the threads that have unblocked it. */
static void run_threads_under_signals(int count, void *(*run)(void *), int flags)
{
    pthread_t sender;
    handle_signal(ignore_signal, flags);
    mask_signal(SIG_BLOCK);
    EQ(pthread_create(&sender, NULL, send_signals, NULL), 0);
    run_threads(count, run);
    atomic_store(&stop, true);
    EQ(pthread_join(sender, NULL), 0);
}

#endif

/* Holds the lock, mostly for a moment, and sometimes so long that the others fall asleep or give
   up. */
static void hold(uint32_t *random)
{
    uint32_t kind = next_random(random) % 1024;
    if (kind < 2) {
        nanosleep(&(struct timespec){0, 1 + next_random(random) % 100000}, NULL);
    } else if (kind < 64) {
        idle(next_random(random) % 1000);
    }
}

static long acquires_each;
static atomic_long acquired, in_use, timed_out, interrupted;

static void *acquire_in_all_ways(void *arg)
{
    uint32_t random = (uint32_t)(intptr_t)arg * 7919 + 1;
    mask_signal(SIG_UNBLOCK);
    for (long i = 0; i < acquires_each; i++) {
        uint32_t way = next_random(&random) % 64;
        int intr_flag = (int)way % 2;
        PyLockStatus status;
        if (way < 24) {
            EQ(PyThread_acquire_lock(shared_lock, WAIT_LOCK), 1);
            status = PY_LOCK_ACQUIRED;
        } else if (way < 44) {
            status = PyThread_acquire_lock_timed(shared_lock, 0, intr_flag);
            NE(status, PY_LOCK_INTR);
        } else if (way < 54) {
            status = PyThread_acquire_lock_timed(shared_lock, -1, intr_flag);
            NE(status, PY_LOCK_FAILURE);
            CHECK(intr_flag != 0 || status != PY_LOCK_INTR);
        } else {
            long long microseconds = 1 + next_random(&random) % 100;
            status = PyThread_acquire_lock_timed(shared_lock, microseconds, intr_flag);
            CHECK(intr_flag != 0 || status != PY_LOCK_INTR);
        }
        if (status == PY_LOCK_ACQUIRED) {
            shared_count++;
            hold(&random);
            PyThread_release_lock(shared_lock);
        }
        atomic_fetch_add_explicit(status == PY_LOCK_ACQUIRED ? &acquired
                                  : status == PY_LOCK_INTR   ? &interrupted
                                  : way < 44                 ? &in_use
                                                             : &timed_out,
                                  1, memory_order_relaxed);
    }
    return NULL;
}

static void check_count_is_exact(int threads)
{
    shared_lock = new_lock();
    acquires_each = 2000000 / SLOWER / threads;
    run_threads_under_signals(threads, acquire_in_all_ways, 0);
    printf("%ld acquired, %ld in use, %ld timed out, %ld interrupted\n", atomic_load(&acquired),
           atomic_load(&in_use), atomic_load(&timed_out), atomic_load(&interrupted));
    EQ(shared_count, atomic_load(&acquired));
    CHECK(!is_held(shared_lock));
    PyThread_free_lock(shared_lock);
}

TEST(two_threads_in_all_ways_lose_no_count)
{
    check_count_is_exact(2);
}

TEST(eight_threads_in_all_ways_lose_no_count)
{
    check_count_is_exact(8);
}

TEST(many_threads_in_all_ways_lose_no_count)
{
    check_count_is_exact(64);
}

/* Half of the threads wait for ever, half give up. A thread that gives up must not swallow a
   wake-up that was meant for another. */
static void *wait_or_give_up(void *arg)
{
    uint32_t random = (uint32_t)(intptr_t)arg + 1;
    bool gives_up = (intptr_t)arg % 2 != 0;
    mask_signal(SIG_UNBLOCK);
    for (long i = 0; i < acquires_each; i++) {
        long long microseconds = gives_up ? 1 + (int)(next_random(&random) % 60) : -1;
        if (PyThread_acquire_lock_timed(shared_lock, microseconds, gives_up) == PY_LOCK_ACQUIRED) {
            idle(next_random(&random) % 2000);
            PyThread_release_lock(shared_lock);
        } else {
            CHECK(gives_up);
        }
        idle(next_random(&random) % 2000);
    }
    return NULL;
}

TEST(a_thread_that_gives_up_takes_no_wake_up_with_it)
{
    enum { THREADS = 12 };
    shared_lock = new_lock();
    acquires_each = 120000 / SLOWER / THREADS;
    run_threads_under_signals(THREADS, wait_or_give_up, 0);
    CHECK(!is_held(shared_lock));
    PyThread_free_lock(shared_lock);
}

/* Rounds, so that no later release makes up for a wake-up that was lost: in each, one thread waits
   for ever, one gives up, and main releases the lock at about that time. */
enum { GIVE_UP_ROUNDS = 3000 / SLOWER, GIVES_UP_AFTER_US = 300 };
static sem_t round_begins[2], round_ends;

static void *wait_in_rounds(void *arg)
{
    intptr_t gives_up = (intptr_t)arg;
    for (int i = 0; i < GIVE_UP_ROUNDS; i++) {
        while (sem_wait(&round_begins[gives_up]) != 0) {
        }
        long long microseconds = gives_up ? GIVES_UP_AFTER_US : -1;
        if (PyThread_acquire_lock_timed(shared_lock, microseconds, 0) == PY_LOCK_ACQUIRED) {
            PyThread_release_lock(shared_lock);
        }
        sem_post(&round_ends);
    }
    return NULL;
}

TEST(a_wake_up_reaches_a_thread_that_waits_beside_one_that_gives_up)
{
    pthread_t threads[2];
    uint32_t random = 1;
    shared_lock = new_lock();
    EQ(sem_init(&round_ends, 0, 0), 0);
    for (intptr_t i = 0; i < 2; i++) {
        EQ(sem_init(&round_begins[i], 0, 0), 0);
        EQ(pthread_create(&threads[i], NULL, wait_in_rounds, (void *)i), 0);
    }
    for (int i = 0; i < GIVE_UP_ROUNDS; i++) {
        EQ(PyThread_acquire_lock(shared_lock, WAIT_LOCK), 1);
        /* The one that gives up sleeps first, and is the first to be woken. */
        sem_post(&round_begins[1]);
        nanosleep(&(struct timespec){0, 100000}, NULL);
        sem_post(&round_begins[0]);
        nanosleep(&(struct timespec){0, 50000 + next_random(&random) % 200000}, NULL);
        PyThread_release_lock(shared_lock);
        for (int j = 0; j < 2; j++) {
            while (sem_wait(&round_ends) != 0) {
            }
        }
    }
    for (int i = 0; i < 2; i++) {
        EQ(pthread_join(threads[i], NULL), 0);
    }
    PyThread_free_lock(shared_lock);
}

/* No thread gives up, and only a release ends a sleep, so that a lost wake-up hangs the case. */
static void *wait_for_each_other(void *arg)
{
    uint32_t random = (uint32_t)(intptr_t)arg + 1;
    for (long i = 0; i < acquires_each; i++) {
        EQ(PyThread_acquire_lock(shared_lock, WAIT_LOCK), 1);
        shared_count++;
        hold(&random);
        PyThread_release_lock(shared_lock);
        idle(next_random(&random) % 100);
    }
    return NULL;
}

TEST(no_wake_up_is_lost)
{
    enum { THREADS = 16, ACQUIRES = 1000000 / SLOWER / THREADS };
    shared_lock = new_lock();
    acquires_each = ACQUIRES;
    run_threads(THREADS, wait_for_each_other);
    EQ(shared_count, ACQUIRES * THREADS);
    PyThread_free_lock(shared_lock);
}

enum { RING = 8, RING_ROUNDS = 5000 / SLOWER };
static PyThread_type_lock ring[RING];

static void *pass_on(void *arg)
{
    intptr_t i = (intptr_t)arg;
    for (int round = 0; round < RING_ROUNDS; round++) {
        EQ(PyThread_acquire_lock(ring[i], WAIT_LOCK), 1);
        shared_count++;
        PyThread_release_lock(ring[(i + 1) % RING]);
    }
    return NULL;
}

TEST(a_ring_of_threads_passes_its_turn_on)
{
    for (int i = 0; i < RING; i++) {
        ring[i] = i == 0 ? new_lock() : new_held_lock();
    }
    run_threads(RING, pass_on);
    EQ(shared_count, RING * RING_ROUNDS);
    for (int i = 0; i < RING; i++) {
        EQ(is_held(ring[i]), i != 0);
        PyThread_free_lock(ring[i]);
    }
}

/* Holds the lock for 50 us so that the others sleep. */
static void *wait_for_ever_under_signals(void *arg)
{
    mask_signal(SIG_UNBLOCK);
    for (long i = 0; i < acquires_each; i++) {
        EQ(PyThread_acquire_lock_timed(shared_lock, -1, i % 4 != 0), PY_LOCK_ACQUIRED);
        nanosleep(&(struct timespec){0, 50000}, NULL);
        PyThread_release_lock(shared_lock);
    }
    return arg;
}

TEST(restarting_handlers_end_no_wait_for_ever_among_many)
{
    enum { THREADS = 8 };
    shared_lock = new_lock();
    acquires_each = 4000 / SLOWER / THREADS;
    run_threads_under_signals(THREADS, wait_for_ever_under_signals, SA_RESTART);
    PyThread_free_lock(shared_lock);
}

enum { GREEDY = 8, SHARE = 100 };
static atomic_int satisfied;

static void *acquire_until_all_are_satisfied(void *arg)
{
    for (long i = 1; atomic_load(&satisfied) < GREEDY; i++) {
        EQ(PyThread_acquire_lock(shared_lock, WAIT_LOCK), 1);
        PyThread_release_lock(shared_lock);
        if (i == SHARE) {
            atomic_fetch_add(&satisfied, 1);
        }
    }
    return arg;
}

TEST(nobody_starves)
{
    shared_lock = new_lock();
    run_threads(GREEDY, acquire_until_all_are_satisfied);
    PyThread_free_lock(shared_lock);
}

/* Main passes this lock to the next holder, who frees it while main may still be releasing it. */
static _Atomic(PyThread_type_lock) passed;

static void *acquire_and_free(void *arg)
{
    PyThread_type_lock lock;
    while ((lock = atomic_load(&passed)) != arg) {
        if (lock == NULL) {
            sched_yield();
            continue;
        }
        EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
        PyThread_free_lock(lock);
        atomic_store(&passed, NULL);
    }
    return NULL;
}

TEST(the_next_holder_may_free_a_lock)
{
    static char end;
    uint32_t random = 1;
    pthread_t thread;
    EQ(pthread_create(&thread, NULL, acquire_and_free, &end), 0);
    for (int i = 0; i < 20000 / SLOWER; i++) {
        PyThread_type_lock lock = new_held_lock();
        atomic_store(&passed, lock);
        idle(next_random(&random) % 3000);
        if (i % 100 == 0) {
            sleep_ms(1);
        }
        PyThread_release_lock(lock);
        while (atomic_load(&passed) != NULL) {
            sched_yield();
        }
    }
    atomic_store(&passed, (PyThread_type_lock)&end);
    EQ(pthread_join(thread, NULL), 0);
}
