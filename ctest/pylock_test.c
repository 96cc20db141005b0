/*
 * pylock_test.c - mutexes, on plain pthreads, so that the tests need no thread of the library: the
 * cases of CPython's test_lock.c, the promises of pylock.h, and stress. A mutex that let two in
 * shows as a wrong count, and a lost wake-up as a case that does not end.
 */
#define _GNU_SOURCE
#include "process.h"
#include "pthreads.h"
#include "pylock.h"

#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#ifndef _WIN32
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#endif

#define MINUTE 60000000LL

/* The byte's values. */
enum { UNLOCKED = 0, LOCKED = 1, PARKED = 2 };

static uint8_t bits_of(PyMutex *m)
{
    return __atomic_load_n(&m->_bits, __ATOMIC_RELAXED);
}

/* Waits until the byte has this value. */
static void wait_for_bits(PyMutex *m, uint8_t expected)
{
    for (int i = 0; i < 20000 && bits_of(m) != expected; i++) {
        sleep_ms(1);
    }
    EQ(bits_of(m), expected);
}

static PyLockStatus try_lock(PyMutex *m)
{
    return pythread_mutex_lock_timed(m, 0, 0);
}

/* A thread that waits for a mutex, and how its wait ended. */
struct waiter {
    PyMutex *mutex;
    long long microseconds;
    int intr_flag;
    pthread_t thread;
    atomic_int status; /* WAITING, and then a PyLockStatus */
    long long waited;  /* in ns */
};

enum { WAITING = -1 };

static void *wait_for_mutex(void *arg)
{
    struct waiter *waiter = arg;
    long long begin = monotonic_ns();
    PyLockStatus status =
        pythread_mutex_lock_timed(waiter->mutex, waiter->microseconds, waiter->intr_flag);
    waiter->waited = monotonic_ns() - begin;
    atomic_store(&waiter->status, (int)status);
    return NULL;
}

static void start_waiter(struct waiter *waiter, PyMutex *mutex, long long microseconds,
                         int intr_flag)
{
    *waiter = (struct waiter){.mutex = mutex, .microseconds = microseconds, .intr_flag = intr_flag};
    atomic_init(&waiter->status, WAITING);
    EQ(pthread_create(&waiter->thread, NULL, wait_for_mutex, waiter), 0);
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
static PyMutex shared;
static long shared_count; /* guarded by shared */

/* ------------------------------------------------------------------------
 * CPython's cases
 * --------------------------------------------------------------------- */

TEST(lock_basic)
{
    PyMutex m = PyMutex_STATIC_INIT;
    PyMutex_Lock(&m);
    EQ(m._bits, 1);
    PyMutex_Unlock(&m);
    EQ(m._bits, 0);
}

TEST(lock_two_threads)
{
    struct waiter waiter;
    PyMutex m = PyMutex_STATIC_INIT;
    PyMutex_Lock(&m);
    start_waiter(&waiter, &m, -1, 0);
    wait_for_bits(&m, 3);
    PyMutex_Unlock(&m);
    EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
    EQ(m._bits, 1);
    PyMutex_Unlock(&m);
    EQ(m._bits, 0);
}

static void *count_10000(void *unused)
{
    for (int i = 0; i < 10000; i++) {
        PyMutex_Lock(&shared);
        shared_count++;
        PyMutex_Unlock(&shared);
    }
    return unused;
}

TEST(lock_counter)
{
    run_threads(5, count_10000);
    EQ(shared_count, 50000);
    EQ(shared._bits, 0);
}

static void *count_slowly(void *unused)
{
    for (int i = 0; i < 100; i++) {
        PyMutex_Lock(&shared);
        if (i % 7 == 0) {
            sleep_ms(2);
        }
        shared_count++;
        PyMutex_Unlock(&shared);
    }
    return unused;
}

TEST(lock_counter_slow)
{
    run_threads(5, count_slowly);
    EQ(shared_count, 500);
    EQ(shared._bits, 0);
}

/* ------------------------------------------------------------------------
 * Contracts
 * --------------------------------------------------------------------- */

TEST(a_mutex_is_a_byte_and_zero_is_free)
{
    static PyMutex in_static_memory;
    PyMutex *in_zeroed_memory = calloc(3, sizeof *in_zeroed_memory);
    CHECK(in_zeroed_memory != NULL);
    EQ(sizeof(PyMutex), 1);
    EQ(try_lock(&in_static_memory), PY_LOCK_ACQUIRED);
    EQ(try_lock(&in_zeroed_memory[1]), PY_LOCK_ACQUIRED);
    EQ(try_lock(&in_zeroed_memory[1]), PY_LOCK_FAILURE);
    EQ(try_lock(&in_zeroed_memory[0]), PY_LOCK_ACQUIRED);
    EQ(try_lock(&in_zeroed_memory[2]), PY_LOCK_ACQUIRED);
    free(in_zeroed_memory);
}

TEST(is_locked_tells_the_lowest_bit)
{
    for (unsigned bits = 0; bits < 4; bits++) {
        PyMutex m = {(uint8_t)bits};
        EQ(PyMutex_IsLocked(&m), bits & 1);
        EQ((PyMutex_IsLocked)(&m), bits & 1);
    }
}

/* The names in parentheses are the functions of the library, not those of the header. */
TEST(functions_and_inline_functions_do_the_same)
{
    PyMutex m = PyMutex_STATIC_INIT;
    (PyMutex_Lock)(&m);
    EQ(PyMutex_IsLocked(&m), 1);
    PyMutex_Unlock(&m);
    EQ((PyMutex_IsLocked)(&m), 0);
    PyMutex_Lock(&m);
    (PyMutex_Unlock)(&m);
    EQ(m._bits, 0);
}

static void *unlock(void *m)
{
    PyMutex_Unlock(m);
    return NULL;
}

TEST(any_thread_unlocks)
{
    static const long long waits[] = {-1, LLONG_MIN, 1, MINUTE, LLONG_MAX};
    PyMutex m = PyMutex_STATIC_INIT;
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        EQ(pythread_mutex_lock_timed(&m, waits[i], (int)i % 2), PY_LOCK_ACQUIRED);
        EQ(try_lock(&m), PY_LOCK_FAILURE);
        run_thread(unlock, &m);
        EQ(PyMutex_IsLocked(&m), 0);
    }
}

TEST(an_unlock_ends_every_kind_of_wait)
{
    static const long long waits[] = {-1, LLONG_MIN, MINUTE, LLONG_MAX};
    PyMutex m = PyMutex_STATIC_INIT;
    PyMutex_Lock(&m);
    for (size_t i = 0; i < 2 * sizeof waits / sizeof *waits; i++) {
        struct waiter waiter;
        start_waiter(&waiter, &m, waits[i / 2], (int)i % 2);
        wait_for_bits(&m, LOCKED | PARKED);
        CHECK(is_waiting(&waiter));
        PyMutex_Unlock(&m);
        EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
    }
}

TEST(timed_lock_never_returns_early)
{
    static const long long waits[] = {1, 10, 100, 1000, 20000};
    struct waiter neighbour; /* has a place in the queue too */
    PyMutex m = PyMutex_STATIC_INIT;
    PyMutex_Lock(&m);
    start_waiter(&neighbour, &m, -1, 0);
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        long long begin = monotonic_ns();
        EQ(pythread_mutex_lock_timed(&m, waits[i], 0), PY_LOCK_FAILURE);
        GE(monotonic_ns() - begin, waits[i] * 1000);
    }
    PyMutex_Unlock(&m);
    EQ(end_of(&neighbour), PY_LOCK_ACQUIRED);
}

TEST(a_waiter_that_gives_up_leaves_no_trace)
{
    PyMutex m = PyMutex_STATIC_INIT;
    PyMutex_Lock(&m);
    EQ(pythread_mutex_lock_timed(&m, 10000, 0), PY_LOCK_FAILURE);
    EQ(m._bits, LOCKED);
    PyMutex_Unlock(&m);
    EQ(m._bits, UNLOCKED);
}

/* Nobody is awake for whom a byte of this value is kept. */
TEST(a_reserved_mutex_is_free_in_the_end)
{
    PyMutex m = {PARKED};
    EQ(try_lock(&m), PY_LOCK_ACQUIRED);
    EQ(m._bits, LOCKED);
    m._bits = PARKED;
    EQ(pythread_mutex_lock_timed(&m, 1, 0), PY_LOCK_ACQUIRED);
    EQ(m._bits, LOCKED);
    m._bits = PARKED;
    PyMutex_Lock(&m);
    EQ(m._bits, LOCKED);
    PyMutex_Unlock(&m);
    EQ(m._bits, UNLOCKED);
}

TEST(neighbours_in_memory_are_left_alone)
{
    struct {
        uint8_t before;
        PyMutex m;
        uint8_t after;
    } all = {0xa5, PyMutex_STATIC_INIT, 0x5a};
    struct waiter waiter;
    PyMutex_Lock(&all.m);
    start_waiter(&waiter, &all.m, -1, 0);
    wait_for_bits(&all.m, LOCKED | PARKED);
    PyMutex_Unlock(&all.m);
    EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
    EQ(all.before, 0xa5);
    EQ(all.after, 0x5a);
}

TEST(errno_is_preserved)
{
    enum { VALUE = 4242 };
    PyMutex m = PyMutex_STATIC_INIT;
    struct waiter waiter;
    errno = VALUE;
    PyMutex_Lock(&m);
    EQ(errno, VALUE);
    EQ(pythread_mutex_lock_timed(&m, 1000, 0), PY_LOCK_FAILURE);
    EQ(errno, VALUE);
    start_waiter(&waiter, &m, -1, 0);
    wait_for_bits(&m, LOCKED | PARKED);
    errno = VALUE;
    PyMutex_Unlock(&m);
    EQ(errno, VALUE);
    EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
}

static int turn;

static void *note_turn(void *m)
{
    PyMutex_Lock(m);
    int mine = turn++;
    PyMutex_Unlock(m);
    return (void *)(intptr_t)mine;
}

/* A waiter is in the queue when the one before has been seen there, and the byte says that a waiter
   sleeps again after it was made to say that none does. */
TEST(waiters_come_in_their_order)
{
    enum { COUNT = 10 };
    pthread_t threads[COUNT];
    PyMutex m = PyMutex_STATIC_INIT;
    PyMutex_Lock(&m);
    for (int i = 0; i < COUNT; i++) {
        /* Whoever settles now makes it 3 again; the mutex stays locked all the time. */
        __atomic_store_n(&m._bits, LOCKED, __ATOMIC_RELAXED);
        EQ(pthread_create(&threads[i], NULL, note_turn, &m), 0);
        wait_for_bits(&m, LOCKED | PARKED);
    }
    PyMutex_Unlock(&m);
    for (int i = 0; i < COUNT; i++) {
        void *mine;
        EQ(pthread_join(threads[i], &mine), 0);
        EQ((intptr_t)mine, i);
    }
    EQ(m._bits, UNLOCKED);
}

/* ------------------------------------------------------------------------
 * Many mutexes
 * --------------------------------------------------------------------- */

enum { MANY = 64 };

/* Mutexes whose waiters stand in one bucket, as pylock.c has it. */
static PyMutex *collide[MANY];
static atomic_int woken;

static void find_colliding(void)
{
    enum { SPACE = MANY * 2048 };
    static PyMutex space[SPACE];
    int found = 0;
    uint64_t bucket = (uint64_t)(uintptr_t)space * 0x9E3779B97F4A7C15 >> 56;
    for (int i = 0; i < SPACE && found < MANY; i++) {
        if ((uint64_t)(uintptr_t)&space[i] * 0x9E3779B97F4A7C15 >> 56 == bucket) {
            collide[found++] = &space[i];
        }
    }
    EQ(found, MANY);
}

static void *wait_for_one_of_many(void *number)
{
    PyMutex *m = collide[(intptr_t)number];
    PyMutex_Lock(m);
    atomic_fetch_add(&woken, 1);
    return NULL;
}

TEST(an_unlock_wakes_a_waiter_of_the_same_mutex)
{
    pthread_t threads[MANY];
    find_colliding();
    for (intptr_t i = 0; i < MANY; i++) {
        PyMutex_Lock(collide[i]);
        EQ(pthread_create(&threads[i], NULL, wait_for_one_of_many, (void *)i), 0);
        wait_for_bits(collide[i], LOCKED | PARKED);
    }
    /* From the middle to both ends. */
    for (int i = 0; i < MANY; i++) {
        int next = MANY / 2 + (i % 2 == 0 ? i / 2 : -(i + 1) / 2);
        PyMutex_Unlock(collide[next]);
        EQ(pthread_join(threads[next], NULL), 0);
        EQ(atomic_load(&woken), i + 1);
        EQ(bits_of(collide[next]), LOCKED);
    }
}

static long counts[MANY];

static void *count_at_colliding(void *number)
{
    uint32_t random = (uint32_t)(intptr_t)number + 1;
    for (int i = 0; i < 20000 / SLOWER; i++) {
        uint32_t one = next_random(&random) % 8;
        PyMutex_Lock(collide[one]);
        counts[one]++;
        PyMutex_Unlock(collide[one]);
    }
    return NULL;
}

TEST(mutexes_of_one_bucket_are_independent)
{
    long sum = 0;
    find_colliding();
    run_threads(16, count_at_colliding);
    for (int i = 0; i < 8; i++) {
        sum += counts[i];
        EQ(bits_of(collide[i]), UNLOCKED);
    }
    EQ(sum, 16 * (20000 / SLOWER));
}

TEST(a_hundred_million_mutexes_take_a_hundred_megabytes)
{
    static const size_t count = 100000000;
    test_skip_under_asan("its shadow takes more");
    PyMutex *all = calloc(count, sizeof *all);
    if (all == NULL) {
        test_skip("no memory");
    }
    long before = resident_kib();
    for (size_t i = 0; i < count; i += UNDER_TSAN ? 4096 : 1) {
        PyMutex_Lock(&all[i]);
    }
    if (!UNDER_TSAN) {
        LE(resident_kib() - before, (long)(count / 1024) + RESIDENT_SLACK_KIB);
    }
    free(all);
}

#ifndef _WIN32

/* ------------------------------------------------------------------------
 * Memory that goes
 * --------------------------------------------------------------------- */

static _Atomic(PyMutex *) passed;
static atomic_int users;

static void *lock_and_unmap(void *m)
{
    long page = sysconf(_SC_PAGESIZE);
    PyMutex_Lock(m);
    bool is_last = atomic_fetch_sub(&users, 1) == 1;
    PyMutex_Unlock(m);
    /* All others have unlocked it: under the mutex each said that it is one less. */
    if (is_last) {
        EQ(munmap(m, (size_t)page), 0);
    }
    return NULL;
}

TEST(the_last_user_may_unmap_a_mutex)
{
    long page = sysconf(_SC_PAGESIZE);
    for (int i = 0; i < 1500 / SLOWER; i++) {
        pthread_t threads[3];
        PyMutex *m =
            mmap(NULL, (size_t)page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        NE((intptr_t)m, (intptr_t)MAP_FAILED);
        atomic_store(&passed, m);
        atomic_store(&users, 3);
        PyMutex_Lock(m);
        for (int t = 0; t < 3; t++) {
            EQ(pthread_create(&threads[t], NULL, lock_and_unmap, m), 0);
        }
        if (i % 2 == 0) {
            wait_for_bits(m, LOCKED | PARKED);
        }
        PyMutex_Unlock(m);
        for (int t = 0; t < 3; t++) {
            EQ(pthread_join(threads[t], NULL), 0);
        }
    }
}

/* ------------------------------------------------------------------------
 * Misuse
 * --------------------------------------------------------------------- */

static void check_fatal_unlock(uint8_t bits)
{
    char text[200];
    int ends[2], status;
    EQ(pipe(ends), 0);
    pid_t child = fork();
    GE(child, 0);
    if (child == 0) {
        PyMutex m = {bits};
        dup2(ends[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL); /* In a Go program Go handles it. */
        PyMutex_Unlock(&m);
        _exit(0);
    }
    close(ends[1]);
    ssize_t length = read(ends[0], text, sizeof text - 1);
    GE(length, 0);
    text[length] = '\0';
    close(ends[0]);
    EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    EQ(WTERMSIG(status), SIGABRT);
    EQ_STR(text, "Fatal Python error: PyMutex_Unlock: unlocking mutex that is not locked\n");
}

TEST(unlock_of_a_free_mutex_ends_the_process)
{
    check_fatal_unlock(UNLOCKED);
    check_fatal_unlock(PARKED);
}

/* ------------------------------------------------------------------------
 * Signals
 * --------------------------------------------------------------------- */

static atomic_bool stop;

static void ignore_signal(int signal)
{
    (void)signal;
}

static void handle_signal(int flags)
{
    struct sigaction action = {.sa_handler = ignore_signal, .sa_flags = flags};
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
    PyMutex m = PyMutex_STATIC_INIT;
    PyMutex_Lock(&m);
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        struct waiter waiter;
        handle_signal(waits[i].flags);
        start_waiter(&waiter, &m, waits[i].microseconds, i % 2 == 0 ? 1 : -1);
        EQ(interrupt(&waiter), PY_LOCK_INTR);
        EQ(m._bits, LOCKED);
    }
}

TEST(a_restarting_handler_does_not_end_a_wait_for_ever)
{
    PyMutex m = PyMutex_STATIC_INIT;
    struct waiter waiter;
    PyMutex_Lock(&m);
    handle_signal(SA_RESTART);
    start_waiter(&waiter, &m, -1, 1);
    check_still_waiting_after_signals(&waiter);
    PyMutex_Unlock(&m);
    EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
}

TEST(no_handler_ends_an_uninterruptible_wait)
{
    static const int flags[] = {0, SA_RESTART};
    for (int i = 0; i < 4; i++) {
        PyMutex m = PyMutex_STATIC_INIT;
        struct waiter waiter;
        PyMutex_Lock(&m);
        handle_signal(flags[i % 2]);
        start_waiter(&waiter, &m, i < 2 ? -1 : MINUTE, 0);
        check_still_waiting_after_signals(&waiter);
        PyMutex_Unlock(&m);
        EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
    }
}

TEST(handlers_move_no_deadline)
{
    PyMutex m = PyMutex_STATIC_INIT;
    struct waiter waiter;
    PyMutex_Lock(&m);
    handle_signal(0);
    start_waiter(&waiter, &m, 500000, 0);
    EQ(interrupt(&waiter), PY_LOCK_FAILURE);
    GE(waiter.waited, 500000000);
}

/* ------------------------------------------------------------------------
 * Forks
 * --------------------------------------------------------------------- */

/* Runs func(arg) in a child, which ends well if every assertion holds. */
static void in_child(void (*func)(void *), void *arg)
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
    EQ(status, 0);
}

static void skip_where_children_start_no_threads(void)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    if (UNDER_TSAN) {
        test_skip("ThreadSanitizer does not bear threads in the child of a fork");
    }
}

static void *lock_and_unlock(void *m)
{
    PyMutex_Lock(m);
    PyMutex_Unlock(m);
    return NULL;
}

static void unlock_and_use(void *m)
{
    PyMutex *mutex = m;
    struct waiter waiter;
    EQ(bits_of(mutex), LOCKED | PARKED); /* the waiter is the parent's alone */
    PyMutex_Unlock(mutex);
    EQ(bits_of(mutex), UNLOCKED);
    PyMutex_Lock(mutex);
    start_waiter(&waiter, mutex, -1, 0);
    wait_for_bits(mutex, LOCKED | PARKED);
    PyMutex_Unlock(mutex);
    EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
}

TEST(a_child_unlocks_a_mutex_that_the_parents_threads_wait_for)
{
    PyMutex m = PyMutex_STATIC_INIT;
    struct waiter waiter;
    skip_where_children_start_no_threads();
    PyMutex_Lock(&m);
    start_waiter(&waiter, &m, -1, 0);
    wait_for_bits(&m, LOCKED | PARKED);
    in_child(unlock_and_use, &m);
    PyMutex_Unlock(&m);
    EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
}

static void *contend_until_stopped(void *unused)
{
    while (!atomic_load(&stop)) {
        PyMutex_Lock(&shared);
        shared_count++;
        PyMutex_Unlock(&shared);
        if (pythread_mutex_lock_timed(&shared, 1, 0) == PY_LOCK_ACQUIRED) {
            PyMutex_Unlock(&shared);
        }
    }
    return unused;
}

/* The mutex may be held by a thread that only the parent has: then it is made anew, as in CPython.
   Others whose waiters stand in the same bucket, which this one may have been about to enter, are
   used as they are. */
static void use_after_fork(void *unused)
{
    pthread_t thread;
    PyMutex m = PyMutex_STATIC_INIT;
    (void)unused;
    shared = m;
    for (int i = 0; i < 2; i++) {
        PyMutex_Lock(&shared);
        EQ(pthread_create(&thread, NULL, lock_and_unlock, &shared), 0);
        wait_for_bits(&shared, LOCKED | PARKED);
        PyMutex_Unlock(&shared);
        EQ(pthread_join(thread, NULL), 0);
    }
    EQ(shared._bits, UNLOCKED);
}

TEST(a_fork_at_any_moment_leaves_the_child_a_parking_lot_that_works)
{
    pthread_t threads[4];
    skip_where_children_start_no_threads();
    for (int i = 0; i < 4; i++) {
        EQ(pthread_create(&threads[i], NULL, contend_until_stopped, NULL), 0);
    }
    for (int i = 0; i < 300; i++) {
        in_child(use_after_fork, NULL);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 4; i++) {
        EQ(pthread_join(threads[i], NULL), 0);
    }
    EQ(shared._bits, UNLOCKED);
}

/* ------------------------------------------------------------------------
 * Stress
 * --------------------------------------------------------------------- */

static void *send_signals(void *threads)
{
    uint32_t random = 1;
    while (!atomic_load(&stop)) {
        pthread_kill(((pthread_t *)threads)[next_random(&random) % 8], SIGUSR1);
        sched_yield();
    }
    return NULL;
}

static atomic_long acquired;

/* Every way to lock, with timeouts about as long as the mutex is held. */
static void *lock_in_all_ways(void *number)
{
    uint32_t random = (uint32_t)(intptr_t)number + 1;
    long mine = 0;
    for (int i = 0; i < 20000 / SLOWER; i++) {
        PyLockStatus status = PY_LOCK_ACQUIRED;
        switch (next_random(&random) % 8) {
        case 0:
            status = try_lock(&shared);
            break;
        case 1:
            status = pythread_mutex_lock_timed(&shared, 1 + next_random(&random) % 100, 0);
            break;
        case 2:
            status = pythread_mutex_lock_timed(&shared, 1 + next_random(&random) % 100, 1);
            break;
        case 3:
            status = pythread_mutex_lock_timed(&shared, -1, 1);
            break;
        default:
            PyMutex_Lock(&shared);
        }
        if (status == PY_LOCK_ACQUIRED) {
            mine++;
            shared_count++;
            if (next_random(&random) % 1024 == 0) {
                sched_yield();
            }
            PyMutex_Unlock(&shared);
        }
    }
    atomic_fetch_add(&acquired, mine);
    return NULL;
}

static void check_all_ways_under_signals(int count, int flags)
{
    pthread_t threads[64], sender;
    handle_signal(flags);
    for (intptr_t i = 0; i < count; i++) {
        EQ(pthread_create(&threads[i], NULL, lock_in_all_ways, (void *)i), 0);
    }
    EQ(pthread_create(&sender, NULL, send_signals, threads), 0);
    for (int i = 0; i < count; i++) {
        /* Those that get signals are joined when none is sent any more. */
        if (i >= 8) {
            EQ(pthread_join(threads[i], NULL), 0);
        }
    }
    sleep_ms(100);
    atomic_store(&stop, true);
    EQ(pthread_join(sender, NULL), 0);
    for (int i = 0; i < 8; i++) {
        EQ(pthread_join(threads[i], NULL), 0);
    }
    EQ(shared_count, atomic_load(&acquired));
    EQ(shared._bits, UNLOCKED);
}

TEST(eight_threads_in_all_ways_under_signals_lose_no_count)
{
    check_all_ways_under_signals(8, 0);
}

TEST(many_threads_in_all_ways_under_restarting_signals_lose_no_count)
{
    check_all_ways_under_signals(64, SA_RESTART);
}

#endif

/* ------------------------------------------------------------------------
 * Stress, on any system
 * --------------------------------------------------------------------- */

/* Times out at the instant of the unlock, give or take some microseconds. */
TEST(a_timeout_at_the_moment_of_the_unlock_loses_no_mutex)
{
    int outcomes[3] = {0};
    for (int i = 0; i < 2000 / SLOWER; i++) {
        struct waiter waiter;
        PyMutex m = PyMutex_STATIC_INIT;
        PyMutex_Lock(&m);
        long long begin = monotonic_ns();
        start_waiter(&waiter, &m, 50 + i % 100, 0);
        while (monotonic_ns() - begin < 100000) {
        }
        PyMutex_Unlock(&m);
        PyLockStatus status = (PyLockStatus)end_of(&waiter);
        outcomes[status]++;
        EQ(m._bits, status == PY_LOCK_ACQUIRED ? LOCKED : UNLOCKED);
    }
    printf("%d timed out, %d had the mutex\n", outcomes[PY_LOCK_FAILURE],
           outcomes[PY_LOCK_ACQUIRED]);
}

static PyMutex ring[32];

static void *pass_on(void *number)
{
    intptr_t mine = (intptr_t)number;
    for (int i = 0; i < 500 / SLOWER; i++) {
        PyMutex_Lock(&ring[mine]);
        PyMutex_Unlock(&ring[(mine + 1) % 32]);
    }
    return NULL;
}

TEST(a_ring_of_threads_passes_its_turn_on)
{
    for (int i = 1; i < 32; i++) {
        PyMutex_Lock(&ring[i]);
    }
    run_threads(32, pass_on);
    for (int i = 0; i < 32; i++) {
        EQ(PyMutex_IsLocked(&ring[i]), i != 0);
    }
}

static atomic_int satisfied;

static void *lock_until_all_are_satisfied(void *unused)
{
    for (int i = 0; atomic_load(&satisfied) < 8; i++) {
        PyMutex_Lock(&shared);
        shared_count++;
        PyMutex_Unlock(&shared);
        if (i == 100) {
            atomic_fetch_add(&satisfied, 1);
        }
    }
    return unused;
}

/* If one starved, the case would not end. */
TEST(nobody_starves)
{
    run_threads(8, lock_until_all_are_satisfied);
    EQ(shared._bits, UNLOCKED);
}
