/*
 * tss_end_test.c - thread-specific storage when a pthread ends: nothing of it is left, and
 * destructors of the program's own keys can still use it.
 */
#define _GNU_SOURCE
#include "keys.h"
#include "process.h"
#include "pthreads.h"

#include <limits.h>

/* ThreadSanitizer is done with a thread before the last round of destructors, which may then call
   nothing. */
#define LAST_ROUND (UNDER_TSAN ? 2 : PTHREAD_DESTRUCTOR_ITERATIONS)

enum { SOME = 100 };
static Py_tss_t *many;

static void *set_some_keys(void *arg)
{
    for (int i = 0; i < (intptr_t)arg; i++) {
        EQ_PTR(PyThread_tss_get(&many[i]), NULL);
        EQ(PyThread_tss_set(&many[i], value(i)), 0);
    }
    return NULL;
}

/* Under sanitizers these numbers do not change; there the sanitizer finds leaks. */
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

/* Two keys of the program whose destructors use thread-specific storage. In each round of
   destructors the one comes before the library's, and the other after it. */
static pthread_key_t early_key, late_key;

struct ending {
    pthread_key_t key;
    int rounds; /* left to come */
    int sets;   /* how many of the SOME values could be set in the last round */
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
    /* The early destructor can always set values. After the last round no destructor would free
       them, so the late one may be refused. */
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

#ifndef _WIN32 /* Where the library has no pthread key. */
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
#endif
