/*
 * tss_test.c - thread-specific storage on plain pthreads, so that it needs no
 * thread of the library: keys, values, what is left when threads end, forks,
 * failing memory. Values between threads started by the library are the
 * business of tss_thread_test.c.
 */
#define _GNU_SOURCE
#include "pythread.h"
#include "test.h"

#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/time.h>
#include <sys/wait.h>

/* The functions with plain numbers for keys are tested, deprecated or not. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

enum { SLOWER = UNDER_ASAN || UNDER_TSAN ? 5 : 1 };
/* Their malloc cannot be replaced, and hangs in the child of a fork that came at a bad moment. */
#define OWN_MALLOC (!UNDER_ASAN && !UNDER_TSAN)
/* ThreadSanitizer has left a thread before the last round of destructors, which may then call
   nothing. */
#define LAST_ROUND (UNDER_TSAN ? 2 : PTHREAD_DESTRUCTOR_ITERATIONS)

static void *run_thread(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    void *result;
    EQ(pthread_create(&thread, NULL, run, arg), 0);
    EQ(pthread_join(thread, &result), 0);
    return result;
}

static void run_threads(int count, void *(*run)(void *))
{
    pthread_t threads[64];
    LE(count, 64);
    for (intptr_t i = 0; i < count; i++) {
        EQ(pthread_create(&threads[i], NULL, run, (void *)i), 0);
    }
    for (int i = 0; i < count; i++) {
        EQ(pthread_join(threads[i], NULL), 0);
    }
}

/* Any pointer that is not NULL, and another for each number. */
static void *value(size_t number)
{
    static char somewhere[1];
    return (void *)((uintptr_t)somewhere + 16 * number);
}

static Py_tss_t *new_keys(size_t count)
{
    Py_tss_t *keys = calloc(count, sizeof *keys);
    CHECK(keys != NULL);
    for (size_t i = 0; i < count; i++) {
        EQ(PyThread_tss_create(&keys[i]), 0);
    }
    return keys;
}

static void delete_keys(Py_tss_t *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        PyThread_tss_delete(&keys[i]);
    }
    free(keys);
}

/* A random number from a state of the caller's, which it seeds with anything but 0. */
static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

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
        /* The number is the same, and still it is another key. */
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
    /* A delete too many has not freed the number twice. */
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
        /* Ids that are in use too, in generations that are not. */
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

enum { MANY = 100000, SOME = 100 };
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

static size_t allocated_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void *last_key_costs_little(void *arg)
{
    void *volatile first = malloc(1); /* for which malloc sets up the thread */
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
    /* Entries for all of them would be 80 KB. */
    LT(allocated_bytes(), before + 8192);
    delete_keys(many, NUMBERS);
}

/* Against the simplest model there is, an array: keys close together and far apart, a power of two
   apart among them, deleted and created anew. */
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

/* ------------------------------------------------------------------------
 * Many threads
 * --------------------------------------------------------------------- */

/* Returns at the same moment in all count threads, or nearly: they spin until the last has come. */
static void meet(int count, int round)
{
    static atomic_int met;
    atomic_fetch_add(&met, 1);
    for (int i = 1; atomic_load(&met) < count * (round + 1); i++) {
        if (i % 1000 == 0) {
            sched_yield();
        }
    }
}

enum { CREATORS = 4, CREATE_ROUNDS = 5000 / SLOWER };

static void *create_shared_together(void *arg)
{
    for (int round = 0; round < CREATE_ROUNDS; round++) {
        meet(CREATORS, round);
        /* The last to come is ahead of the others: in one round or another by just this much. */
        for (volatile int i = 0; i < round % 200 * (int)(intptr_t)arg % 200; i++) {
        }
        EQ(PyThread_tss_create(&shared), 0);
        /* Each may go on at once. */
        EQ_PTR(PyThread_tss_get(&shared), NULL);
        EQ(PyThread_tss_set(&shared, value(round + 1)), 0);
        pthread_barrier_wait(&barrier);
        EQ_PTR(PyThread_tss_get(&shared), value(round + 1));
        pthread_barrier_wait(&barrier);
        if (arg == NULL) {
            PyThread_tss_delete(&shared);
        }
    }
    return NULL;
}

static int free_pthread_keys(void)
{
    pthread_key_t keys[PTHREAD_KEYS_MAX];
    int count = 0;
    while (count < PTHREAD_KEYS_MAX && pthread_key_create(&keys[count], NULL) == 0) {
        count++;
    }
    for (int i = 0; i < count; i++) {
        EQ(pthread_key_delete(keys[i]), 0);
    }
    return count;
}

static void *set_many_values_together(void *arg)
{
    for (int i = 0; i < 5; i++) {
        meet(CREATORS, i);
        EQ(PyThread_tss_set(&many[i], value(i)), 0);
    }
    return arg;
}

TEST(the_library_takes_one_pthread_key)
{
    many = new_keys(SOME);
    for (int i = 0; i < 100 / SLOWER; i++) {
        /* The first values are the first in each process. */
        pid_t child = fork();
        GE(child, 0);
        if (child == 0) {
            int before = free_pthread_keys();
            run_threads(CREATORS, set_many_values_together);
            EQ(free_pthread_keys(), before - 1);
            _exit(0);
        }
        int status;
        EQ(waitpid(child, &status, 0), child);
        EQ(status, 0);
    }
}

TEST(threads_that_create_one_key_together_create_it_once)
{
    pthread_barrier_init(&barrier, NULL, CREATORS);
    run_threads(CREATORS, create_shared_together);
    /* No more than one for each creator was ever taken, so keys created in vain were given back. */
    for (int i = 0; i < CREATORS; i++) {
        LT(PyThread_create_key(), CREATORS);
    }
}

enum { CHURNERS = 8, OWN_KEYS = 50, CHURN_STEPS = 40000 };
static atomic_char number_in_use[CHURNERS * OWN_KEYS + 1000];

/* Creates, sets, reads and deletes keys of its own, in both forms, in random order. */
static void *churn(void *arg)
{
    uint32_t state = (uint32_t)(intptr_t)arg + 1;
    Py_tss_t keys[OWN_KEYS] = {Py_tss_NEEDS_INIT};
    int numbers[OWN_KEYS];
    void *values[OWN_KEYS] = {NULL}, *number_values[OWN_KEYS] = {NULL};
    memset(numbers, -1, sizeof numbers);
    for (int step = 0; step < CHURN_STEPS; step++) {
        unsigned k = next_random(&state) % OWN_KEYS;
        bool created = PyThread_tss_is_created(&keys[k]);
        EQ_PTR(PyThread_tss_get(&keys[k]), values[k]);
        EQ_PTR(PyThread_get_key_value(numbers[k]), number_values[k]);
        switch (next_random(&state) % 3) {
        case 0:
            EQ(PyThread_tss_create(&keys[k]), 0);
            EQ_PTR(PyThread_tss_get(&keys[k]), values[k]);
            if (numbers[k] == -1) {
                numbers[k] = PyThread_create_key();
                LT(numbers[k], (int)sizeof number_in_use);
                EQ(atomic_exchange(&number_in_use[numbers[k]], 1), 0);
                EQ_PTR(PyThread_get_key_value(numbers[k]), NULL);
            }
            break;
        case 1:
            EQ(PyThread_tss_set(&keys[k], value(step)), created ? 0 : -1);
            values[k] = created ? value(step) : NULL;
            EQ(PyThread_set_key_value(numbers[k], value(step)), numbers[k] == -1 ? -1 : 0);
            number_values[k] = numbers[k] == -1 ? NULL : value(step);
            break;
        default:
            PyThread_tss_delete(&keys[k]);
            if (numbers[k] != -1) {
                EQ(atomic_exchange(&number_in_use[numbers[k]], 0), 1);
                PyThread_delete_key(numbers[k]);
            }
            numbers[k] = -1;
            values[k] = number_values[k] = NULL;
            break;
        }
    }
    for (int k = 0; k < OWN_KEYS; k++) {
        PyThread_tss_delete(&keys[k]);
        if (numbers[k] != -1) {
            EQ(atomic_exchange(&number_in_use[numbers[k]], 0), 1);
        }
        PyThread_delete_key(numbers[k]);
    }
    return NULL;
}

TEST(keys_come_and_go_in_many_threads_at_once)
{
    run_threads(CHURNERS, churn);
    /* No number was lost. */
    for (int i = 0; i < CHURNERS * OWN_KEYS; i++) {
        LE(PyThread_create_key(), 2 * CHURNERS * OWN_KEYS);
    }
}

static void *create_and_check_many(void *arg)
{
    Py_tss_t *keys = new_keys(20000);
    for (int i = 0; i < 20000; i++) {
        EQ_PTR(PyThread_tss_get(&keys[i]), NULL);
        EQ(PyThread_tss_set(&keys[i], value(i)), 0);
    }
    for (int i = 0; i < 20000; i++) {
        EQ_PTR(PyThread_tss_get(&keys[i]), value(i));
    }
    delete_keys(keys, 20000);
    return arg;
}

/* As the room for keys grows under several threads at once. */
TEST(many_threads_create_many_keys_at_once)
{
    run_threads(8, create_and_check_many);
    for (int i = 0; i < 8 * 20000; i++) {
        int number = PyThread_create_key();
        GE(number, 0);
        LT(number, 8 * 20000);
    }
}

/* ------------------------------------------------------------------------
 * Threads that end
 * --------------------------------------------------------------------- */

static void *set_some_keys(void *arg)
{
    for (int i = 0; i < (intptr_t)arg; i++) {
        EQ_PTR(PyThread_tss_get(&many[i]), NULL);
        EQ(PyThread_tss_set(&many[i], value(i)), 0);
    }
    return NULL;
}

/* Sanitizers and valgrind, where these numbers stand still, look for leaks themselves. */
static void check_memory_is_flat(int times, void (*run)(int i), size_t slack)
{
    for (int i = 0; i < times / 10; i++) {
        run(i);
    }
    size_t before = allocated_bytes();
    for (int i = 0; i < times; i++) {
        run(i);
    }
    LT(allocated_bytes(), before + slack);
}

static void run_some(int i)
{
    static const intptr_t counts[] = {0, 1, 3, 4, 10, 100};
    run_thread(set_some_keys, (void *)counts[i % 6]);
}

TEST(foreign_threads_leave_nothing)
{
    many = new_keys(100);
    check_memory_is_flat(10000 / SLOWER, run_some, 65536);
    delete_keys(many, 100);
}

/*
 * Keys of the program whose destructors use thread-specific storage: one whose
 * destructor comes before the library's in each round, one that comes behind.
 */
static pthread_key_t early_key, late_key;

struct ending {
    pthread_key_t key;
    int rounds; /* still to come */
    int sets;   /* how many of SOME were set in the last of them */
};

static void use_storage_at_end(void *arg)
{
    struct ending *ending = arg;
    ending->sets = 0;
    for (int i = 0; i < SOME; i++) {
        void *before = PyThread_tss_get(&many[i]);
        CHECK(before == NULL || before == value(0) || before == value(1));
        if (PyThread_tss_set(&many[i], value(1)) == 0) {
            EQ_PTR(PyThread_tss_get(&many[i]), value(1));
            ending->sets++;
        } else {
            EQ_PTR(PyThread_tss_get(&many[i]), before);
        }
    }
    ending->rounds--;
    if (ending->rounds > 0) {
        EQ(ending->sets, SOME);
        EQ(pthread_setspecific(ending->key, ending), 0);
    }
}

static void *end_with_storage(void *arg)
{
    struct ending *endings = arg;
    for (int i = 0; i < 2; i++) {
        if (endings[i].rounds > 0) {
            EQ(pthread_setspecific(endings[i].key, &endings[i]), 0);
        }
    }
    return NULL;
}

static void *set_all_and_end(void *arg)
{
    for (int i = 0; i < SOME; i++) {
        EQ(PyThread_tss_set(&many[i], value(0)), 0);
    }
    return end_with_storage(arg);
}

static void make_end_keys(void)
{
    EQ(pthread_key_create(&early_key, use_storage_at_end), 0);
    many = new_keys(SOME);
    for (int i = 0; i < SOME; i++) {
        EQ(PyThread_tss_set(&many[i], value(0)), 0);
    }
    EQ(pthread_key_create(&late_key, use_storage_at_end), 0);
}

static void end_set_threads(int i)
{
    enum { ROUNDS = LAST_ROUND };
    struct ending endings[2] = {{early_key, i % (ROUNDS + 1), 0},
                                {late_key, i / (ROUNDS + 1) % (ROUNDS + 1), 0}};
    run_thread(set_all_and_end, endings);
    EQ(endings[0].rounds, 0);
    EQ(endings[1].rounds, 0);
    /* The early one is served to the end. Behind the last round there is nobody to free more. */
    EQ(endings[0].sets, i % (ROUNDS + 1) == 0 ? 0 : SOME);
}

TEST(destructors_of_the_program_use_storage_in_all_rounds)
{
    make_end_keys();
    check_memory_is_flat(2000 / SLOWER, end_set_threads, 65536);
}

static void end_new_threads(int i)
{
    enum { ROUNDS = LAST_ROUND };
    struct ending endings[2] = {{early_key, i % ROUNDS, 0}, {late_key, i / ROUNDS % ROUNDS, 0}};
    run_thread(end_with_storage, endings);
    EQ(endings[0].sets, i % ROUNDS == 0 ? 0 : SOME);
    EQ(endings[1].sets, i / ROUNDS % ROUNDS == 0 ? 0 : SOME);
}

TEST(destructors_of_the_program_are_the_first_to_use_storage)
{
    make_end_keys();
    check_memory_is_flat(2000 / SLOWER, end_new_threads, 65536);
}

static void *set_until_it_fails(void *arg)
{
    (void)arg;
    intptr_t set = 0;
    while (set < SOME && PyThread_tss_set(&many[set], value(set)) == 0) {
        set++;
    }
    for (int i = 0; i < SOME; i++) {
        EQ_PTR(PyThread_tss_get(&many[i]), i < set ? value(i) : NULL);
    }
    return (void *)set;
}

TEST(without_a_pthread_key_left_nothing_is_corrupted)
{
    pthread_key_t keys[PTHREAD_KEYS_MAX];
    int count = 0;
    many = new_keys(SOME);
    while (count < PTHREAD_KEYS_MAX && pthread_key_create(&keys[count], NULL) == 0) {
        count++;
    }
    LT((intptr_t)run_thread(set_until_it_fails, NULL), SOME);
    pthread_key_delete(keys[count - 1]);
    EQ((intptr_t)run_thread(set_until_it_fails, NULL), SOME);
}

/* ------------------------------------------------------------------------
 * Forks and signals
 * --------------------------------------------------------------------- */

enum { CHURNERS_OF_ONE = 3, CHURNERS_OF_OWN = 3, ALL_CHURNERS = CHURNERS_OF_ONE + CHURNERS_OF_OWN };
static atomic_bool churn_stops;

/* Creates, uses and deletes one key together with others, until the first of them sees a stop. */
static void *churn_shared(void *arg)
{
    static bool goes_on;
    meet(ALL_CHURNERS + 1, 0);
    for (;;) {
        if (arg == NULL) {
            goes_on = !atomic_load(&churn_stops);
        }
        pthread_barrier_wait(&barrier);
        if (!goes_on) {
            return NULL;
        }
        EQ(PyThread_tss_create(&shared), 0);
        EQ_PTR(PyThread_tss_get(&shared), NULL);
        if (OWN_MALLOC) {
            EQ(PyThread_tss_set(&shared, value(1)), 0);
            EQ_PTR(PyThread_tss_get(&shared), value(1));
        }
        pthread_barrier_wait(&barrier);
        if (arg == NULL) {
            PyThread_tss_delete(&shared);
        }
    }
}

static void *churn_until_stop(void *arg)
{
    meet(ALL_CHURNERS + 1, 0);
    while (!atomic_load(&churn_stops)) {
        Py_tss_t keys[OWN_KEYS] = {Py_tss_NEEDS_INIT};
        int numbers[OWN_KEYS];
        for (int i = 0; i < OWN_KEYS; i++) {
            EQ(PyThread_tss_create(&keys[i]), 0);
            numbers[i] = PyThread_create_key();
        }
        for (int i = 0; i < OWN_KEYS; i++) {
            PyThread_tss_delete(&keys[i]);
            PyThread_delete_key(numbers[i]);
        }
    }
    return arg;
}

static void use_storage_in_child(Py_tss_t *keys, int count)
{
    /* A child that hangs is killed, and its parent sees that. */
    alarm(30);
    for (int i = 0; i < count; i++) {
        EQ_PTR(PyThread_tss_get(&keys[i]), value(i));
    }
    /* Whatever another thread was about to do with this key. */
    for (int round = 0; round < 3; round++) {
        EQ(PyThread_tss_create(&shared), 0);
        EQ(PyThread_tss_set(&shared, value(round + 5)), 0);
        EQ_PTR(PyThread_tss_get(&shared), value(round + 5));
        PyThread_tss_delete(&shared);
        EQ(PyThread_tss_create(&shared), 0);
        EQ_PTR(PyThread_tss_get(&shared), NULL);
    }
    Py_tss_t *more = new_keys(2000);
    for (int i = 0; i < 2000; i++) {
        EQ_PTR(PyThread_tss_get(&more[i]), NULL);
        EQ(PyThread_tss_set(&more[i], value(i)), 0);
    }
    int number = PyThread_create_key();
    EQ(PyThread_set_key_value(number, value(3)), 0);
    for (int i = 0; i < 2000; i++) {
        EQ_PTR(PyThread_tss_get(&more[i]), value(i));
    }
    EQ_PTR(PyThread_get_key_value(number), value(3));
    PyThread_delete_key(number);
    delete_keys(more, 2000);
    delete_keys(keys, count);
    /* Not by _exit: valgrind would miss what belonged to the threads that are not here. */
    execl("/bin/true", "true", (char *)NULL);
    test_fail();
}

TEST(a_child_forked_at_any_moment_has_working_storage)
{
    enum { OWN = 10, FORKS = 300 / SLOWER };
    Py_tss_t *keys = new_keys(OWN);
    for (int i = 0; i < OWN; i++) {
        EQ(PyThread_tss_set(&keys[i], value(i)), 0);
    }
    pthread_t threads[ALL_CHURNERS];
    pthread_barrier_init(&barrier, NULL, CHURNERS_OF_ONE);
    for (intptr_t i = 0; i < ALL_CHURNERS; i++) {
        void *(*run)(void *) = i < CHURNERS_OF_ONE ? churn_shared : churn_until_stop;
        EQ(pthread_create(&threads[i], NULL, run, (void *)i), 0);
    }
    /* A fork while a thread starts is another matter: sanitizers do not take it. */
    meet(ALL_CHURNERS + 1, 0);
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        GE(child, 0);
        if (child == 0) {
            use_storage_in_child(keys, OWN);
        }
        int status;
        EQ(waitpid(child, &status, 0), child);
        EQ(status, 0);
    }
    atomic_store(&churn_stops, true);
    for (int i = 0; i < ALL_CHURNERS; i++) {
        EQ(pthread_join(threads[i], NULL), 0);
    }
    for (int i = 0; i < OWN; i++) {
        EQ_PTR(PyThread_tss_get(&keys[i]), value(i));
    }
    delete_keys(keys, OWN);
}

static atomic_int reads_in_handler;

static void read_shared_in_handler(int signal)
{
    (void)signal;
    int saved = errno;
    EQ_PTR(PyThread_tss_get(&shared), value(7));
    atomic_fetch_add(&reads_in_handler, 1);
    errno = saved;
}

/* More than the header promises, but crash reporters and profilers do it, and with CPython's own
   storage they may. */
TEST(a_signal_handler_reads_a_value_while_others_are_set)
{
    many = new_keys(MANY / 10);
    EQ(PyThread_tss_create(&shared), 0);
    EQ(PyThread_tss_set(&shared, value(7)), 0);
    struct sigaction action = {.sa_handler = read_shared_in_handler, .sa_flags = SA_RESTART};
    EQ(sigaction(SIGALRM, &action, NULL), 0);
    struct itimerval often = {{0, 50}, {0, 50}}, never = {{0, 0}, {0, 0}};
    EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
    long long end = monotonic_ns() + 1000000000;
    while (atomic_load(&reads_in_handler) < 1000 || monotonic_ns() < end) {
        for (int i = 0; i < MANY / 10; i++) {
            PyThread_tss_delete(&many[i]);
            EQ(PyThread_tss_create(&many[i]), 0);
            EQ(PyThread_tss_set(&many[i], value(i)), 0);
        }
    }
    EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
}

/* ------------------------------------------------------------------------
 * Memory that fails: this program's own malloc, which on one thread fails once
 * at the n-th call from now and counts what that thread has not freed.
 * --------------------------------------------------------------------- */

/* Volatile, since a compiler knows that malloc changes no variable of the program. */
static _Thread_local volatile long calls_to_failure = -1;
static _Thread_local volatile long blocks_held;

#if OWN_MALLOC
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

/* Calls with the first allocation failing, then with the second, until it succeeds: each failure
   may change neither errno nor what is allocated. Returns how often it failed. */
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
        /* Nothing that a failure took remains taken. */
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
    /* The system allocates for a thread's value of a pthread key, except for the first few keys. */
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
