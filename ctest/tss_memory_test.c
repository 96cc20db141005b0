/*
 * tss_memory_test.c - thread-specific storage when malloc fails.
 */
#define _GNU_SOURCE
#include "failing_malloc.h"
#include "keys.h"
#include "pthreads.h"

/* The deprecated functions with plain numbers for keys are tested too. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

enum { MANY = 100000 };
static Py_tss_t *many;

static int alloc_key(void *arg)
{
    Py_tss_t **key = arg;
    *key = PyThread_tss_alloc();
    return *key == NULL ? -1 : 0;
}

TEST(alloc_without_memory_returns_null)
{
    need_failing_malloc();
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
    need_failing_malloc();
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
    need_failing_malloc();
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
    need_failing_malloc();
    enum { VALUES = 20, NULLS = 1000 };
    many = new_keys(VALUES + NULLS);
    for (int values = 0; values < VALUES; values++) {
        calls_to_failure = 0;
        for (int i = VALUES; i < VALUES + NULLS; i++) {
            EQ(PyThread_tss_set(&many[i], NULL), 0);
            EQ_PTR(PyThread_tss_get(&many[i]), NULL);
        }
        EQ(calls_to_failure, 0);
        calls_to_failure = -1;
        EQ(PyThread_tss_set(&many[values], value(values)), 0);
    }
}
