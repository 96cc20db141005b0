/*
 * pylock_test.c - the cases of CPython's test_lock.c, and the promises of pylock.h about mutexes.
 */
#define _GNU_SOURCE
#include "mutexes.h"
#include "process.h"

#include <limits.h>
#include <sched.h>
#ifndef _WIN32
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#endif

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

TEST(a_waiter_that_gives_up_leaves_the_wake_ups_of_others)
{
    PyMutex m = PyMutex_STATIC_INIT;
    struct waiter before, after;
    PyMutex_Lock(&m);
    start_waiter(&before, &m, -1, 0);
    wait_for_bits(&m, LOCKED | PARKED);
    EQ(pythread_mutex_lock_timed(&m, 10000, 0), PY_LOCK_FAILURE);
    EQ(m._bits, LOCKED | PARKED);
    PyMutex_Unlock(&m);
    EQ(end_of(&before), PY_LOCK_ACQUIRED);
    /* Now the first one gives up. */
    start_waiter(&before, &m, 200000, 0);
    wait_for_bits(&m, LOCKED | PARKED);
    start_waiter(&after, &m, -1, 0);
    EQ(end_of(&before), PY_LOCK_FAILURE);
    wait_for_bits(&m, LOCKED | PARKED);
    PyMutex_Unlock(&m);
    EQ(end_of(&after), PY_LOCK_ACQUIRED);
}

/* The byte is reserved for a waiter, but no waiter is awake. */
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
        /* The next waiter that settles makes it 3 again; the mutex stays locked all the time. */
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
    /* An emulator adds a line of its own. */
    char *line = strchr(text, '\n');
    CHECK(line != NULL);
    line[1] = '\0';
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

#endif
