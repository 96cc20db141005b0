/*
 * tss_test.c - thread-specific storage, on plain pthreads, so that the tests need no thread of the
 * library: keys and values, misuse, very many keys. Races, ends of threads and missing memory have
 * files of their own (tss_*_test.c), and so have the library's threads (tss_thread_test.c).
 */
#define _GNU_SOURCE
#include "keys.h"
#include "process.h"
#include "pthreads.h"

#include <limits.h>

/* The deprecated functions with plain numbers for keys are tested too. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

/* ------------------------------------------------------------------------
 * Contracts
 * --------------------------------------------------------------------- */

TEST(a_key_has_the_layout_of_cpython)
{
    EQ(sizeof(Py_tss_t), 8);
    EQ(_Alignof(Py_tss_t), 4);
    EQ(offsetof(Py_tss_t, _is_initialized), 0);
    EQ(offsetof(Py_tss_t, _key), 4);
}

TEST(a_static_key_goes_through_its_life)
{
    static Py_tss_t key = Py_tss_NEEDS_INIT;
    EQ(PyThread_tss_is_created(&key), 0);
    EQ(PyThread_tss_create(&key), 0);
    NE(PyThread_tss_is_created(&key), 0);
    EQ_PTR(PyThread_tss_get(&key), NULL);
    EQ(PyThread_tss_set(&key, value(1)), 0);
    EQ_PTR(PyThread_tss_get(&key), value(1));
    EQ(PyThread_tss_set(&key, value(2)), 0);
    EQ_PTR(PyThread_tss_get(&key), value(2));
    EQ(PyThread_tss_set(&key, NULL), 0);
    EQ_PTR(PyThread_tss_get(&key), NULL);
    PyThread_tss_delete(&key);
    EQ(PyThread_tss_is_created(&key), 0);
    PyThread_tss_delete(&key);
    EQ(PyThread_tss_is_created(&key), 0);
}

TEST(an_allocated_key_goes_through_its_life)
{
    Py_tss_t *key = PyThread_tss_alloc();
    CHECK(key != NULL);
    EQ(PyThread_tss_is_created(key), 0);
    EQ(PyThread_tss_create(key), 0);
    EQ(PyThread_tss_set(key, value(1)), 0);
    EQ_PTR(PyThread_tss_get(key), value(1));
    PyThread_tss_free(key);
}

TEST(freeing_a_key_deletes_it)
{
    int number = PyThread_create_key();
    GE(number, 0);
    PyThread_delete_key(number);
    for (int i = 0; i < 10000; i++) {
        Py_tss_t *key = PyThread_tss_alloc();
        CHECK(key != NULL);
        EQ(PyThread_tss_create(key), 0);
        PyThread_tss_free(key);
    }
    int later = PyThread_create_key();
    LT(later, number + 10);
    PyThread_tss_free(PyThread_tss_alloc());
}

TEST(null_for_a_key_gets_the_documented_values)
{
    EQ(PyThread_tss_is_created(NULL), 0);
    EQ(PyThread_tss_create(NULL), -1);
    EQ(PyThread_tss_set(NULL, value(1)), -1);
    EQ_PTR(PyThread_tss_get(NULL), NULL);
    PyThread_tss_delete(NULL);
    PyThread_tss_free(NULL);
}

TEST(a_key_that_is_not_created_holds_nothing)
{
    Py_tss_t key = Py_tss_NEEDS_INIT;
    for (int deleted = 0; deleted < 2; deleted++) {
        EQ_PTR(PyThread_tss_get(&key), NULL);
        EQ(PyThread_tss_set(&key, value(1)), -1);
        EQ(PyThread_tss_set(&key, NULL), -1);
        EQ_PTR(PyThread_tss_get(&key), NULL);
        EQ(PyThread_tss_create(&key), 0);
        EQ(PyThread_tss_set(&key, value(1)), 0);
        PyThread_tss_delete(&key);
    }
}

TEST(creating_a_created_key_keeps_its_value)
{
    Py_tss_t key = Py_tss_NEEDS_INIT;
    EQ(PyThread_tss_create(&key), 0);
    EQ(PyThread_tss_set(&key, value(1)), 0);
    EQ(PyThread_tss_create(&key), 0);
    EQ_PTR(PyThread_tss_get(&key), value(1));
    PyThread_tss_delete(&key);
}

TEST(null_is_a_value_that_can_always_be_set)
{
    Py_tss_t *keys = new_keys(1000);
    for (int i = 0; i < 1000; i++) {
        EQ(PyThread_tss_set(&keys[i], NULL), 0);
        EQ_PTR(PyThread_tss_get(&keys[i]), NULL);
    }
    for (int i = 0; i < 1000; i++) {
        EQ(PyThread_tss_set(&keys[i], value(i)), 0);
        EQ(PyThread_tss_set(&keys[i], NULL), 0);
        EQ_PTR(PyThread_tss_get(&keys[i]), NULL);
    }
    delete_keys(keys, 1000);
}

static Py_tss_t shared = Py_tss_NEEDS_INIT;

static void *set_and_read_shared(void *arg)
{
    for (int i = 0; i < 10000; i++) {
        EQ_PTR(PyThread_tss_get(&shared), i == 0 ? NULL : value((size_t)arg));
        EQ(PyThread_tss_set(&shared, value((size_t)arg)), 0);
    }
    return NULL;
}

TEST(each_thread_has_a_value_of_its_own)
{
    EQ(PyThread_tss_create(&shared), 0);
    EQ(PyThread_tss_set(&shared, value(1000)), 0);
    run_threads(16, set_and_read_shared);
    EQ_PTR(PyThread_tss_get(&shared), value(1000));
    PyThread_tss_delete(&shared);
}

static pthread_barrier_t barrier;
static int shared_number;

static void *read_null_after_a_new_create(void *arg)
{
    for (int round = 0; round < 100; round++) {
        EQ_PTR(PyThread_tss_get(&shared), NULL);
        EQ_PTR(PyThread_get_key_value(shared_number), NULL);
        if ((round + (intptr_t)arg) % 3 != 0) {
            EQ(PyThread_tss_set(&shared, value(round)), 0);
            EQ(PyThread_set_key_value(shared_number, value(round + 1)), 0);
        }
        pthread_barrier_wait(&barrier); /* here the key is created anew */
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static void *create_shared_anew(void *arg)
{
    (void)arg;
    for (int round = 0; round < 100; round++) {
        pthread_barrier_wait(&barrier);
        PyThread_tss_delete(&shared);
        PyThread_delete_key(shared_number);
        /* The number is the same, but it is another key. */
        EQ(PyThread_create_key(), shared_number);
        EQ(PyThread_tss_create(&shared), 0);
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static void *read_or_create_shared_anew(void *arg)
{
    return arg == NULL ? create_shared_anew(arg) : read_null_after_a_new_create(arg);
}

TEST(a_key_created_anew_reads_null_in_every_thread)
{
    EQ(PyThread_tss_create(&shared), 0);
    shared_number = PyThread_create_key();
    pthread_barrier_init(&barrier, NULL, 8);
    run_threads(8, read_or_create_shared_anew);
}

TEST(errno_is_preserved)
{
    Py_tss_t *keys = calloc(5000, sizeof *keys);
    CHECK(keys != NULL);
    errno = 4711;
    for (int i = 0; i < 5000; i++) {
        EQ(PyThread_tss_create(&keys[i]), 0);
        EQ(PyThread_tss_set(&keys[i], value(i)), 0);
        EQ_PTR(PyThread_tss_get(&keys[i]), value(i));
        EQ(errno, 4711);
    }
    EQ_PTR(PyThread_get_key_value(-1), NULL);
    EQ(PyThread_set_key_value(INT_MAX, value(1)), -1);
    EQ_PTR(PyThread_tss_get(NULL), NULL);
    for (int i = 0; i < 5000; i++) {
        PyThread_tss_delete(&keys[i]);
    }
    PyThread_tss_free(PyThread_tss_alloc());
    EQ(errno, 4711);
    free(keys);
}

/* ------------------------------------------------------------------------
 * Numbers for keys
 * --------------------------------------------------------------------- */

TEST(a_number_is_a_key)
{
    int key = PyThread_create_key(), other = PyThread_create_key();
    GE(key, 0);
    GE(other, 0);
    NE(key, other);
    EQ_PTR(PyThread_get_key_value(key), NULL);
    EQ(PyThread_set_key_value(key, value(1)), 0);
    EQ(PyThread_set_key_value(other, value(2)), 0);
    EQ(PyThread_set_key_value(key, value(3)), 0);
    EQ_PTR(PyThread_get_key_value(key), value(3));
    EQ_PTR(PyThread_get_key_value(other), value(2));
    PyThread_delete_key_value(key);
    EQ_PTR(PyThread_get_key_value(key), NULL);
    EQ(PyThread_set_key_value(key, value(4)), 0);
    PyThread_ReInitTLS();
    EQ_PTR(PyThread_get_key_value(key), value(4));
    PyThread_delete_key(key);
    PyThread_delete_key(other);
}

static void check_bad_number(int key)
{
    EQ_PTR(PyThread_get_key_value(key), NULL);
    EQ(PyThread_set_key_value(key, value(1)), -1);
    EQ(PyThread_set_key_value(key, NULL), -1);
    PyThread_delete_key_value(key);
    PyThread_delete_key(key);
    EQ_PTR(PyThread_get_key_value(key), NULL);
}

TEST(a_number_that_is_no_key_gets_the_documented_values)
{
    static const int never[] = {0,          1,       1023,        1024,    1025,       -1,
                                -2,         -1024,   -1025,       1 << 20, 1 << 29,    1 << 30,
                                -(1 << 30), INT_MAX, INT_MAX - 1, INT_MIN, INT_MIN + 1};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        check_bad_number(never[i]);
    }
    int live = PyThread_create_key(), deleted = PyThread_create_key();
    EQ(PyThread_set_key_value(live, value(1)), 0);
    EQ(PyThread_set_key_value(deleted, value(2)), 0);
    PyThread_delete_key(deleted);
    check_bad_number(deleted);
    uint32_t state = 1;
    for (int i = 0; i < 1000000; i++) {
        int key = (int)next_random(&state);
        if (key != live) {
            check_bad_number(key);
        }
    }
    EQ_PTR(PyThread_get_key_value(live), value(1));
    /* The second delete has not freed the number twice. */
    int a = PyThread_create_key(), b = PyThread_create_key();
    NE(a, live);
    NE(b, live);
    NE(a, b);
}

/* ------------------------------------------------------------------------
 * Keys that are none
 * --------------------------------------------------------------------- */

TEST(a_copy_of_a_deleted_key_does_not_reach_the_next_one)
{
    Py_tss_t first = Py_tss_NEEDS_INIT, next = Py_tss_NEEDS_INIT;
    EQ(PyThread_tss_create(&first), 0);
    EQ(PyThread_tss_set(&first, value(1)), 0);
    Py_tss_t copy = first;
    EQ_PTR(PyThread_tss_get(&copy), value(1));
    PyThread_tss_delete(&first);
    EQ(PyThread_tss_create(&next), 0);
    EQ_PTR(PyThread_tss_get(&next), NULL);
    EQ(PyThread_tss_set(&next, value(2)), 0);
    EQ_PTR(PyThread_tss_get(&copy), NULL);
    EQ(PyThread_tss_set(&copy, value(3)), -1);
    PyThread_tss_delete(&copy);
    EQ(PyThread_tss_is_created(&copy), 0);
    EQ_PTR(PyThread_tss_get(&next), value(2));
    EQ(PyThread_tss_set(&next, value(4)), 0);
    EQ(PyThread_tss_create(&first), 0);
    EQ_PTR(PyThread_tss_get(&first), NULL);
    EQ(PyThread_tss_set(&first, value(5)), 0);
    EQ_PTR(PyThread_tss_get(&next), value(4));
}

TEST(a_key_of_random_bytes_does_no_harm)
{
    enum { LIVE = 100 };
    Py_tss_t *keys = new_keys(LIVE);
    for (int i = 0; i < LIVE; i++) {
        EQ(PyThread_tss_set(&keys[i], value(i)), 0);
    }
    uint32_t state = 1;
    for (int i = 0; i < 300000; i++) {
        /* Some of these ids are in use, but not in this generation. */
        int id = (int)next_random(&state);
        Py_tss_t key = {i % 2 == 0 ? id : id % (2 * LIVE), next_random(&state) | 0x40000000};
        EQ_PTR(PyThread_tss_get(&key), NULL);
        EQ(PyThread_tss_set(&key, value(1)), -1);
        EQ(PyThread_tss_set(&key, NULL), -1);
        PyThread_tss_delete(&key);
        EQ(PyThread_tss_is_created(&key), 0);
    }
    for (int i = 0; i < LIVE; i++) {
        EQ_PTR(PyThread_tss_get(&keys[i]), value(i));
    }
    delete_keys(keys, LIVE);
}

/* ------------------------------------------------------------------------
 * Many keys
 * --------------------------------------------------------------------- */

enum { MANY = 100000 };
static Py_tss_t *many;

static void *use_many_keys(void *arg)
{
    for (int i = 0; i < MANY; i++) {
        EQ_PTR(PyThread_tss_get(&many[i]), NULL);
        EQ(PyThread_tss_set(&many[i], value(i + (size_t)arg)), 0);
    }
    for (int i = 0; i < MANY; i++) {
        EQ_PTR(PyThread_tss_get(&many[i]), value(i + (size_t)arg));
    }
    return NULL;
}

TEST(a_hundred_thousand_keys_are_alive_at_once)
{
    many = new_keys(MANY);
    for (int round = 0; round < 2; round++) {
        use_many_keys((void *)1);
        run_threads(2, use_many_keys);
        for (int i = 0; i < MANY; i++) {
            EQ_PTR(PyThread_tss_get(&many[i]), value(i + 1));
            PyThread_tss_delete(&many[i]);
        }
        for (int i = 0; i < MANY; i++) {
            EQ(PyThread_tss_create(&many[i]), 0);
        }
    }
    delete_keys(many, MANY);
}

TEST(numbers_are_given_out_again)
{
    Py_tss_t *keys = new_keys(100);
    delete_keys(keys, 100);
    for (int i = 0; i < 1000000; i++) {
        int key = PyThread_create_key();
        GE(key, 0);
        LT(key, 100);
        PyThread_delete_key(key);
    }
}

static void *last_key_costs_little(void *arg)
{
    void *volatile first = malloc(1); /* so that malloc has set up this thread */
    size_t before = allocated_bytes();
    for (int i = 0; i < 10; i++) {
        EQ(PyThread_tss_set(&many[MANY - 1 - i * 4096], arg), 0);
    }
    LT(allocated_bytes(), before + 1024);
    free(first);
    return arg;
}

TEST(a_thread_pays_for_the_keys_it_sets_only)
{
    many = new_keys(MANY);
    EQ_PTR(run_thread(last_key_costs_little, value(1)), value(1));
    delete_keys(many, MANY);
}

TEST(values_of_deleted_keys_take_no_room)
{
    enum { NUMBERS = 5000 };
    many = new_keys(NUMBERS);
    EQ(PyThread_tss_set(&many[0], value(0)), 0);
    size_t before = allocated_bytes();
    for (int round = 0; round < 10; round++) {
        for (int i = 1; i < NUMBERS; i++) {
            EQ_PTR(PyThread_tss_get(&many[i]), NULL);
            EQ(PyThread_tss_set(&many[i], value(i)), 0);
            EQ_PTR(PyThread_tss_get(&many[i]), value(i));
            PyThread_tss_delete(&many[i]);
            EQ(PyThread_tss_create(&many[i]), 0);
        }
        EQ_PTR(PyThread_tss_get(&many[0]), value(0));
    }
    /* Entries for all keys would take 80 KB. */
    LT(allocated_bytes(), before + 8192);
    delete_keys(many, NUMBERS);
}

/* Compared with the simplest model, an array. The keys are close together, far apart, or a power of
   two apart; some are deleted and created again. */
TEST(a_million_random_operations_agree_with_a_model)
{
    enum { KEYS = 40000 };
    Py_tss_t *keys = new_keys(KEYS);
    void **model = calloc(KEYS, sizeof *model);
    CHECK(model != NULL);
    uint32_t state = 1;
    for (int i = 0; i < 1000000; i++) {
        static const unsigned strides[] = {1, 3, 64, 1024, 4096};
        unsigned stride = strides[next_random(&state) % 5];
        unsigned k = next_random(&state) % KEYS / stride * stride;
        switch (next_random(&state) % 4) {
        case 0:
            model[k] = value(next_random(&state) % 1000);
            EQ(PyThread_tss_set(&keys[k], model[k]), 0);
            break;
        case 1:
            EQ_PTR(PyThread_tss_get(&keys[k]), model[k]);
            break;
        case 2:
            model[k] = NULL;
            EQ(PyThread_tss_set(&keys[k], NULL), 0);
            break;
        default:
            PyThread_tss_delete(&keys[k]);
            EQ(PyThread_tss_create(&keys[k]), 0);
            model[k] = NULL;
            break;
        }
    }
    for (int k = 0; k < KEYS; k++) {
        EQ_PTR(PyThread_tss_get(&keys[k]), model[k]);
    }
    free(model);
    delete_keys(keys, KEYS);
}
