/*
 * tss_race_test.c - thread-specific storage while other things happen: many pthreads that use it at
 * the same time, a fork, a signal.
 */
#define _GNU_SOURCE
#include "keys.h"
#include "process.h"
#include "pthreads.h"

#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#ifndef _WIN32
#include <sys/time.h>
#include <sys/wait.h>
#endif

/* The deprecated functions with plain numbers for keys are tested too. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

enum { MANY = 10000, SOME = 100 };
static Py_tss_t shared = Py_tss_NEEDS_INIT;
static pthread_barrier_t barrier;

/* ------------------------------------------------------------------------
 * Many threads
 * --------------------------------------------------------------------- */

/* Returns at nearly the same moment in all `count` threads: they spin until the last one has come.
 */
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
        /* The thread that came last is ahead of the others. This delays it by a different amount in
           each round. */
        for (volatile int i = 0; i < round % 200 * (int)(intptr_t)arg % 200; i++) {
        }
        EQ(PyThread_tss_create(&shared), 0);
        /* The key is ready for each of them at once. */
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

#ifndef _WIN32
static Py_tss_t *many;

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

static void count_pthread_keys(long round)
{
    (void)round;
    wait_for_go();
    many = new_keys(SOME);
    int before = free_pthread_keys();
    run_threads(CREATORS, set_many_values_together);
    EQ(free_pthread_keys(), before - 1);
}

/* In a process of its own each time, since the first values of a process take the key. */
TEST(the_library_takes_one_pthread_key)
{
    for (int round = 0; round < 100 / SLOWER; round++) {
        run_in_process(count_pthread_keys, round);
    }
}
#endif

TEST(threads_that_create_one_key_together_create_it_once)
{
    pthread_barrier_init(&barrier, NULL, CREATORS);
    run_threads(CREATORS, create_shared_together);
    /* A key that came too late was given back, so there was never more than one for each creator.
     */
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

/* The library's table of keys grows while several threads create keys. */
TEST(many_threads_create_many_keys_at_once)
{
    run_threads(8, create_and_check_many);
    for (int i = 0; i < 8 * 20000; i++) {
        int number = PyThread_create_key();
        GE(number, 0);
        LT(number, 8 * 20000);
    }
}

#ifndef _WIN32

/* ------------------------------------------------------------------------
 * Forks and signals
 * --------------------------------------------------------------------- */

enum { CHURNERS_OF_ONE = 3, CHURNERS_OF_OWN = 3, ALL_CHURNERS = CHURNERS_OF_ONE + CHURNERS_OF_OWN };
static atomic_bool churn_stops;

/* Creates, uses and deletes one key together with the other threads, until the first of them is
   told to stop. */
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
        if (!UNDER_ASAN && !UNDER_TSAN) {
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
    /* An alarm ends a child that hangs. This is long after the time of the case is up: under qemu,
       beside the threads that churn, a child that works has taken 30 s. */
    alarm(300);
    for (int i = 0; i < count; i++) {
        EQ_PTR(PyThread_tss_get(&keys[i]), value(i));
    }
    /* Another thread of the parent may have been in the middle of anything with this key. */
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
    _exit(0);
}

TEST(a_child_forked_at_any_moment_has_working_storage)
{
    enum { OWN = 10, FORKS = 300 / SLOWER };
    let_go_start();
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
    /* Fork only after all threads have started: sanitizers cannot handle a fork during a start. */
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

/* The header does not promise this, but crash reporters and profilers do it, and CPython's own
   storage allows it. */
TEST(a_signal_handler_reads_a_value_while_others_are_set)
{
    many = new_keys(MANY);
    EQ(PyThread_tss_create(&shared), 0);
    EQ(PyThread_tss_set(&shared, value(7)), 0);
    struct sigaction action = {.sa_handler = read_shared_in_handler, .sa_flags = SA_RESTART};
    EQ(sigaction(SIGALRM, &action, NULL), 0);
    struct itimerval often = {{0, 50}, {0, 50}}, never = {{0, 0}, {0, 0}};
    EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
    while (atomic_load(&reads_in_handler) < 10000 / SLOWER) {
        for (int i = 0; i < MANY; i++) {
            PyThread_tss_delete(&many[i]);
            EQ(PyThread_tss_create(&many[i]), 0);
            EQ(PyThread_tss_set(&many[i], value(i)), 0);
        }
    }
    EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
}

#endif
