/*
 * tss_memory_test.c - thread-specific storage when malloc fails. This program has its own malloc,
 * which fails once, on one thread, at the n-th call from now, and counts the blocks that this
 * thread has not freed.
 */
#define _GNU_SOURCE
#include "keys.h"
#include "pthreads.h"

#include <stdbool.h>

/* The deprecated functions with plain numbers for keys are tested too. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

enum { MANY = 100000 };
static Py_tss_t *many;

/* Volatile, since the compiler assumes that malloc changes no variable of the program. */
static _Thread_local volatile long calls_to_failure = -1;
static _Thread_local volatile long blocks_held;

#if !UNDER_ASAN && !UNDER_TSAN /* they have their own */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void __libc_free(void *memory);

static bool fails(void)
{
    bool now = calls_to_failure == 0;
    calls_to_failure = calls_to_failure - (calls_to_failure >= 0);
    if (now) {
        errno = ENOMEM;
    }
    return now;
}

static void *counted(void *memory)
{
    blocks_held = blocks_held + (memory != NULL);
    return memory;
}

void *malloc(size_t size)
{
    return fails() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *memory, size_t size)
{
    if (fails()) {
        return NULL;
    }
    return memory == NULL ? counted(__libc_realloc(NULL, size)) : __libc_realloc(memory, size);
}

void free(void *memory)
{
    blocks_held = blocks_held - (memory != NULL);
    __libc_free(memory);
}
#endif

static void need_own_malloc(void)
{
    long before = blocks_held;
    void *volatile block = malloc(1);
    bool counts = blocks_held == before + 1;
    free(block);
    if (!counts) {
        test_skip("another malloc than this program's is in use");
    }
}

/* Calls with the first allocation failing, then with the second, and so on until the call succeeds.
   A failure may change neither errno nor what is allocated. Returns the number of failures. */
static int fail_until_success(int (*call)(void *arg), void *arg)
{
    for (int n = 0;; n++) {
        long held = blocks_held;
        calls_to_failure = n;
        errno = 4711;
        int result = call(arg);
        bool failed = calls_to_failure < 0;
        calls_to_failure = -1;
        EQ(errno, 4711);
        if (result == 0) {
            CHECK(!failed);
            return n;
        }
        EQ(result, -1);
        CHECK(failed);
        EQ(blocks_held, held);
    }
}

static int alloc_key(void *arg)
{
    Py_tss_t **key = arg;
    *key = PyThread_tss_alloc();
    return *key == NULL ? -1 : 0;
}

TEST(alloc_without_memory_returns_null)
{
    need_own_malloc();
    Py_tss_t *key = NULL;
    long held = blocks_held;
    GE(fail_until_success(alloc_key, &key), 1);
    EQ(blocks_held, held + 1);
    EQ(PyThread_tss_is_created(key), 0);
    PyThread_tss_free(key);
    EQ(blocks_held, held);
}

static int create_key(void *key)
{
    return PyThread_tss_create(key);
}

static int create_number(void *number)
{
    *(int *)number = PyThread_create_key();
    return *(int *)number < 0 ? -1 : 0;
}

TEST(create_without_memory_fails_and_works_later)
{
    need_own_malloc();
    static Py_tss_t keys[MANY];
    static int numbers[MANY];
    int failures = 0, number_failures = 0;
    for (int i = 0; i < MANY; i++) {
        failures += fail_until_success(create_key, &keys[i]);
        number_failures += fail_until_success(create_number, &numbers[i]);
        /* A failed call gives back what it took. */
        EQ(numbers[i], 2 * i + 1);
        EQ_PTR(PyThread_tss_get(&keys[i]), NULL);
    }
    GT(failures + number_failures, 0);
    for (int i = 0; i < MANY; i++) {
        EQ(PyThread_tss_set(&keys[i], value(i)), 0);
        EQ(PyThread_set_key_value(numbers[i], value(i + 1)), 0);
    }
    for (int i = 0; i < MANY; i++) {
        EQ_PTR(PyThread_tss_get(&keys[i]), value(i));
        EQ_PTR(PyThread_get_key_value(numbers[i]), value(i + 1));
    }
}

static int set_key(void *key)
{
    int result = PyThread_tss_set(key, value(9));
    EQ_PTR(PyThread_tss_get(key), result == 0 ? value(9) : NULL);
    return result;
}

static int set_number(void *number)
{
    int result = PyThread_set_key_value(*(int *)number, value(8));
    EQ_PTR(PyThread_get_key_value(*(int *)number), result == 0 ? value(8) : NULL);
    return result;
}

static void *set_with_failures(void *arg)
{
    int failures = 0;
    for (int i = 0; i < 1000; i++) {
        int number = PyThread_create_key();
        failures += fail_until_success(set_key, &many[i]);
        failures += fail_until_success(set_number, &number);
        for (int j = 0; j < 1000; j++) {
            EQ_PTR(PyThread_tss_get(&many[j]), j <= i ? value(9) : NULL);
        }
    }
    GT(failures, 0);
    return arg;
}

TEST(set_without_memory_fails_and_keeps_all_values)
{
    need_own_malloc();
    /* The C library allocates memory for a thread's values of pthread keys, except for the first
       few keys. */
    pthread_key_t first_few;
    for (int i = 0; i < 100; i++) {
        EQ(pthread_key_create(&first_few, NULL), 0);
    }
    many = new_keys(1000);
    run_thread(set_with_failures, NULL);
    set_with_failures(NULL);
}

TEST(setting_null_where_there_is_no_value_allocates_nothing)
{
    need_own_malloc();
    many = new_keys(10000);
    calls_to_failure = 0;
    for (int i = 0; i < 10000; i++) {
        EQ(PyThread_tss_set(&many[i], NULL), 0);
        EQ_PTR(PyThread_tss_get(&many[i]), NULL);
    }
    EQ(calls_to_failure, 0);
    calls_to_failure = -1;
}
