/*
 * memory_test.c - the library when malloc fails. This program replaces the C library's allocator,
 * so that it can make every allocation of the process fail: the n-th one, or all from the n-th one
 * on. Each case tries every n until the call under test needs no more allocations.
 */
#define _GNU_SOURCE
#include "process.h"
#include "threads.h"

#include <limits.h>
#include <pthread.h>
#include <sys/wait.h>

#if UNDER_ASAN
/* AddressSanitizer has an allocator of its own. */
static atomic_long live, until_failure, failures_left;
#else
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

/* Blocks that are allocated now; allocations until the next failure; failures still to come. */
static atomic_long live, until_failure, failures_left;

static int fails(void)
{
    if (atomic_load(&failures_left) <= 0 || atomic_fetch_sub(&until_failure, 1) > 1 ||
        atomic_fetch_sub(&failures_left, 1) <= 0) {
        return 0;
    }
    errno = ENOMEM;
    return 1;
}

static void *counted(void *block)
{
    atomic_fetch_add(&live, block != NULL);
    return block;
}

void *malloc(size_t size)
{
    return fails() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *block, size_t size)
{
    if (fails()) {
        return NULL;
    }
    void *moved = __libc_realloc(block, size);
    atomic_fetch_add(&live, (moved != NULL) - (block != NULL && (moved != NULL || size == 0)));
    return moved;
}

void *memalign(size_t alignment, size_t size)
{
    return fails() ? NULL : counted(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    void *aligned = memalign(alignment, size);
    if (aligned == NULL) {
        return ENOMEM;
    }
    *block = aligned;
    return 0;
}

void free(void *block)
{
    atomic_fetch_sub(&live, block != NULL);
    __libc_free(block);
}
#endif

/* Makes the n-th allocation from now on fail, and all after it, up to this many. */
static void fail_at(long n, long times)
{
    test_skip_under_asan("it has an allocator of its own");
    atomic_store(&until_failure, n);
    atomic_store(&failures_left, times);
}

/* Stops failing, and returns whether any allocation has failed. */
static int stop_failing(long times)
{
    return atomic_exchange(&failures_left, 0) != times;
}

/* ------------------------------------------------------------------------ locks and storage */

TEST(a_lock_without_memory_is_null_and_nothing_leaks)
{
    let_go_start();
    for (int i = 0; i < 3; i++) {
        long before = atomic_load(&live);
        fail_at(1, 1);
        errno = 33;
        PyThread_type_lock lock = PyThread_allocate_lock();
        EQ(errno, 33);
        EQ(stop_failing(1), 1);
        EQ_PTR(lock, NULL);
        EQ(atomic_load(&live), before);
        lock = PyThread_allocate_lock();
        NE((intptr_t)lock, 0);
        EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 1);
        PyThread_release_lock(lock);
        PyThread_free_lock(lock);
        EQ(atomic_load(&live), before);
    }
}

TEST(a_lock_made_new_without_memory_is_as_it_was)
{
    let_go_start();
    PyThread_type_lock lock = PyThread_allocate_lock(), same = lock;
    NE((intptr_t)lock, 0);
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 1);
    long before = atomic_load(&live);
    fail_at(1, 1);
    EQ(_PyThread_at_fork_reinit(&lock), -1);
    EQ(stop_failing(1), 1);
    EQ_PTR(lock, same);
    EQ(atomic_load(&live), before);
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 0);
    PyThread_release_lock(lock);
    PyThread_free_lock(lock);
}

TEST(a_key_without_memory_is_null_and_nothing_leaks)
{
    let_go_start();
    long before = atomic_load(&live);
    fail_at(1, 1);
    Py_tss_t *key = PyThread_tss_alloc();
    EQ(stop_failing(1), 1);
    EQ_PTR(key, NULL);
    EQ(atomic_load(&live), before);
    key = PyThread_tss_alloc();
    NE((intptr_t)key, 0);
    PyThread_tss_free(key);
    EQ(atomic_load(&live), before);
}

enum { KEYS = 20000 };

static Py_tss_t keys[KEYS];

/* Creates a key, with an earlier allocation failing in each attempt but the last. Returns the
   number of failures. */
static int create_key(int i, long times)
{
    int failed = 0;
    for (long n = 1;; n++) {
        long before = atomic_load(&live);
        fail_at(n, times);
        errno = 33;
        int result = PyThread_tss_create(&keys[i]);
        EQ(errno, 33);
        int did_fail = stop_failing(times);
        if (result == 0) {
            NE(PyThread_tss_is_created(&keys[i]), 0);
            return failed;
        }
        EQ(result, -1);
        EQ(did_fail, 1);
        EQ(PyThread_tss_is_created(&keys[i]), 0);
        EQ(PyThread_tss_set(&keys[i], keys), -1);
        EQ(atomic_load(&live), before);
        failed++;
    }
}

TEST(creating_keys_without_memory_fails_and_leaks_nothing)
{
    let_go_start();
    int failed = 0;
    for (int i = 0; i < KEYS; i++) {
        failed += create_key(i, i % 2 == 0 ? 1 : LONG_MAX);
    }
    GE(failed, 1);
    for (int i = 0; i < KEYS; i++) {
        EQ(PyThread_tss_set(&keys[i], &keys[i]), 0);
    }
    for (int i = 0; i < KEYS; i++) {
        EQ_PTR(PyThread_tss_get(&keys[i]), &keys[i]);
        PyThread_tss_delete(&keys[i]);
    }
}

/* Sets the caller's values of all keys, with failures in the same way. */
static void set_values(void *arg)
{
    atomic_int *failed = arg;
    for (int i = 0; i < KEYS; i++) {
        const long times = i % 2 == 0 ? 1 : LONG_MAX;
        for (long n = 1;; n++) {
            long before = atomic_load(&live);
            fail_at(n, times);
            errno = 33;
            int result = PyThread_tss_set(&keys[i], &keys[i]);
            EQ(errno, 33);
            int did_fail = stop_failing(times);
            if (result == 0) {
                break;
            }
            EQ(result, -1);
            EQ(did_fail, 1);
            EQ_PTR(PyThread_tss_get(&keys[i]), NULL);
            EQ_PTR(PyThread_tss_get(&keys[i / 2]), i < 2 ? NULL : &keys[i / 2]);
            EQ(atomic_load(&live), before);
            atomic_fetch_add(failed, 1);
        }
    }
    for (int i = 0; i < KEYS; i++) {
        EQ_PTR(PyThread_tss_get(&keys[i]), &keys[i]);
    }
}

static void *set_values_on_pthread(void *arg)
{
    set_values(arg);
    return NULL;
}

TEST(setting_values_without_memory_fails_and_leaks_nothing)
{
    let_go_start();
    pthread_t pthread;
    atomic_int failed = 0;
    for (int i = 0; i < KEYS; i++) {
        EQ(PyThread_tss_create(&keys[i]), 0);
    }
    set_values(&failed);
    GE(atomic_exchange(&failed, 0), 1);
    join(start(set_values, &failed));
    GE(atomic_exchange(&failed, 0), 1);
    EQ(pthread_create(&pthread, NULL, set_values_on_pthread, &failed), 0);
    EQ(pthread_join(pthread, NULL), 0);
    GE(atomic_load(&failed), 1);
}

/* ------------------------------------------------------------------------ threads */

static atomic_int counter;

/* Starts a thread, joinable or detached, and waits for it. Returns 0 if it could not be started. */
static int start_and_join(int joinable)
{
    PyThread_ident_t ident = 11;
    PyThread_handle_t handle = 22;
    int before = atomic_load(&counter);
    errno = 33;
    if (joinable) {
        int result = PyThread_start_joinable_thread(count, &counter, &ident, &handle);
        EQ(errno, 33);
        if (result != 0) {
            EQ(result, -1);
            EQ(ident, 11);
            EQ(handle, 22);
            return 0;
        }
        join(handle);
    } else {
        unsigned long started = PyThread_start_new_thread(count, &counter);
        EQ(errno, 33);
        if (started == PYTHREAD_INVALID_THREAD_ID) {
            return 0;
        }
    }
    wait_for_count(&counter, before + 1);
    return 1;
}

/* The Go runtime starts beside the first thread. When no OS thread was added for a while, it either
   runs or could not start. */
static void wait_for_runtime(void)
{
    pythread_stats stats = {0};
    size_t before;
    do {
        before = stats.os_threads;
        sleep_ms(20);
        pythread_get_stats(&stats);
    } while (stats.os_threads != before);
}

/* Makes the first start of a process, with failures from the n-th allocation on. Exits with 3 if
   none failed. */
static void start_first(long n, long times, int joinable)
{
    alarm(50);
    fail_at(n, times);
    int started = start_and_join(joinable);
    wait_for_runtime();
    int did_fail = stop_failing(times);
    CHECK(started || did_fail);
    for (int i = 0; i < 3; i++) {
        EQ(start_and_join(joinable), 1);
    }
    check_nothing_is_left();
    fflush(NULL);
    _exit(did_fail ? 0 : 3);
}

/* Runs a process for every n, until n is more than the number of allocations. */
static void check_first_starts(long times, int joinable)
{
    int failed = 0, status = 0;
    for (long n = 1; WEXITSTATUS(status) != 3; n++) {
        fflush(NULL);
        pid_t child = fork();
        NE(child, -1);
        if (child == 0) {
            start_first(n, times, joinable);
        }
        EQ(waitpid(child, &status, 0), child);
        if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 3)) {
            fprintf(stderr, "with failures from the %ld-th allocation on:\n", n);
            EQ(status, 0);
        }
        failed++;
    }
    GE(failed, 2);
}

TEST(the_first_start_outlives_any_one_failure)
{
    let_go_start();
    test_skip_under_asan("it has an allocator of its own");
    check_first_starts(1, 1);
}

TEST(the_first_detached_start_outlives_failures_without_end)
{
    let_go_start();
    test_skip_under_asan("it has an allocator of its own");
    check_first_starts(LONG_MAX, 0);
}

enum { THREADS = 600 };

static sem_t doors[THREADS];
static PyThread_handle_t handles[THREADS];

/* Has threads block, each started with failures in the same way. Returns the number of failures. */
static int start_many(long times)
{
    PyThread_ident_t ident;
    int failed = 0;
    for (int i = 0; i < THREADS; i++) {
        EQ(sem_init(&doors[i], 0, 0), 0);
        for (long n = 1;; n++) {
            fail_at(n, times);
            int result =
                PyThread_start_joinable_thread(wait_at_door, &doors[i], &ident, &handles[i]);
            int did_fail = stop_failing(times);
            if (result == 0) {
                break;
            }
            EQ(result, -1);
            EQ(did_fail, 1);
            failed++;
        }
    }
    for (int i = 0; i < THREADS; i++) {
        EQ(sem_post(&doors[i]), 0);
        join(handles[i]);
    }
    check_nothing_is_left();
    return failed;
}

/* What a thread allocates belongs to its OS thread, and after a round some OS threads end and
   others stay. Apart from that the rounds leave nothing. */
TEST(starts_without_memory_fail_and_leak_nothing)
{
    let_go_start();
    enum { ROUNDS = 10, WARM = 3 };
    long before = 0, failed = 0;
    for (int round = 0; round < ROUNDS; round++) {
        if (round == WARM) {
            before = atomic_load(&live);
            failed = 0;
        }
        failed += start_many(round % 2 == 0 ? 1 : LONG_MAX);
    }
    GE(failed, 1000);
    LE(atomic_load(&live) - before, failed / 10);
}

TEST(fresh_os_threads_without_memory_fail_and_leak_nothing)
{
    let_go_start();
    enum { ROUNDS = 2000 };
    use_fresh_os_threads(1);
    EQ(start_and_join(1), 1);
    long before = atomic_load(&live);
    for (int i = 0; i < ROUNDS; i++) {
        const long times = i % 2 == 0 ? 1 : LONG_MAX;
        for (long n = 1, started = 0; !started; n++) {
            fail_at(n, times);
            started = start_and_join(i % 4 < 2);
            int did_fail = stop_failing(times);
            CHECK(started || did_fail);
        }
    }
    check_nothing_is_left();
    LE(atomic_load(&live) - before, ROUNDS / 10);
}

/* Starts a thread from a pthread that has started none before, with failures. */
static void *start_from_pthread(void *arg)
{
    PyThread_ident_t ident;
    PyThread_handle_t handle;
    sem_t door;
    long n = *(long *)arg;
    EQ(sem_init(&door, 0, 0), 0);
    fail_at(n / 2 + 1, n % 2 == 0 ? 1 : LONG_MAX);
    int result = PyThread_start_joinable_thread(wait_at_door, &door, &ident, &handle);
    stop_failing(0);
    if (result == 0) {
        EQ(sem_post(&door), 0);
        join(handle);
    }
    return NULL;
}

TEST(the_first_start_of_a_pthread_outlives_any_failure)
{
    let_go_start();
    EQ(start_and_join(1), 1);
    for (long n = 0; n < 60; n++) {
        for (int i = 0; i < 10; i++) {
            pthread_t pthread;
            /* By then the OS threads of the start before are asleep. */
            sleep_ms(2);
            EQ(pthread_create(&pthread, NULL, start_from_pthread, &n), 0);
            EQ(pthread_join(pthread, NULL), 0);
        }
    }
    EQ(start_and_join(1), 1);
    check_nothing_is_left();
}
