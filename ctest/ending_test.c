/*
 * ending_test.c - calls from threads that are about to end, and while the process exits: in
 * cleanup handlers, in destructors of pthread keys and of C++ objects, in atexit handlers.
 */
#define _GNU_SOURCE
#include "process.h"
#include "threads.h"

#include <pthread.h>

static atomic_int ran;

static void call(void *unused)
{
    (void)unused;
    PyThread_init_thread();
    join(start(count, &ran));
}

/* ------------------------------------------------------------------------ a thread that ends */

enum { LAST_ROUND = 4 };

static pthread_key_t key;

/* Where a thread calls the library: in a cleanup handler, in a destructor of a C++ object, or in
   one of these rounds of its destructors. */
enum place { IN_CLEANUP = -1, IN_OBJECT = 0, IN_FIRST_ROUND = 1, PLACES = LAST_ROUND + 1 };

/* The value counts the rounds that are left. */
static void call_in_last(void *value)
{
    intptr_t left = (intptr_t)value - 1;
    if (left == 0) {
        call(NULL);
    } else {
        EQ(pthread_setspecific(key, (void *)left), 0);
    }
}

/* What a compiler calls for a C++ object that is a thread-local variable. */
extern int __cxa_thread_atexit_impl(void (*destroy)(void *), void *object, void *module);
extern void *__dso_handle;

static void end_at(void *arg)
{
    enum place place = (enum place)(intptr_t)arg;
    if (place == IN_CLEANUP) {
        pthread_cleanup_push(call, NULL);
        pthread_exit(NULL);
        pthread_cleanup_pop(0);
    } else if (place == IN_OBJECT) {
        EQ(__cxa_thread_atexit_impl(call, NULL, &__dso_handle), 0);
    } else {
        EQ(pthread_setspecific(key, (void *)(intptr_t)place), 0);
    }
}

static void *end_pthread_at(void *place)
{
    end_at(place);
    return NULL;
}

static void call_and_end_at(void *place)
{
    call(NULL);
    end_at(place);
}

static void *call_and_end_pthread_at(void *place)
{
    return call_and_end_at(place), NULL;
}

static void run_pthread(void *(*func)(void *), intptr_t place)
{
    pthread_t thread;
    EQ(pthread_create(&thread, NULL, func, (void *)place), 0);
    EQ(pthread_join(thread, NULL), 0);
}

static void start_the_first_at(long place)
{
    EQ(pthread_key_create(&key, call_in_last), 0);
    run_pthread(end_pthread_at, place);
    EQ(atomic_load(&ran), 1);
    check_nothing_is_left();
}

TEST(a_pthread_that_ends_starts_the_first_thread)
{
    for (long place = IN_CLEANUP; place < PLACES; place++) {
        run_in_process(start_the_first_at, place);
    }
}

/* The C library runs destructors in the order of their keys. So the key is made late, when Go has
 * its own.
 */
static void end_many_at(long place)
{
    enum { MANY = 300 };
    pythread_stats before, after;
    join(start(nothing, NULL));
    EQ(pthread_key_create(&key, call_in_last), 0);
    pythread_get_stats(&before, sizeof before);
    for (int i = 1; i <= MANY; i++) {
        run_pthread(call_and_end_pthread_at, place);
        EQ(atomic_load(&ran), 2 * i);
    }
    for (int mode = PYTHREAD_REUSE_CLEAN; mode <= PYTHREAD_REUSE_NEVER; mode++) {
        pythread_set_reuse(mode);
        for (int i = 0; i < MANY; i++) {
            join(start(call_and_end_at, (void *)place));
        }
    }
    wait_for_count(&ran, 3 * 2 * MANY);
    check_nothing_is_left();
    pythread_get_stats(&after, sizeof after);
    LT(after.os_threads, before.os_threads + MANY / 2);
}

TEST(threads_that_end_call_the_library_and_leave_nothing)
{
    for (long place = IN_CLEANUP; place < PLACES; place++) {
        run_in_process(end_many_at, place);
    }
}

/* ------------------------------------------------------------------------ a process that exits */

static void check_that_one_ran(void)
{
    EQ(atomic_load(&ran), 1);
}

static void call_at_exit(void)
{
    call(NULL);
}

static void exit_with_handler(long mode)
{
    pythread_set_reuse((int)mode);
    EQ(atexit(check_that_one_ran), 0);
    EQ(atexit(call_at_exit), 0);
    exit(0);
}

TEST(an_exit_handler_starts_the_first_thread)
{
    for (int mode = PYTHREAD_REUSE_CLEAN; mode <= PYTHREAD_REUSE_ALWAYS; mode++) {
        run_in_process(exit_with_handler, mode);
    }
}

static void call_for_ever(void *unused)
{
    for (;;) {
        call(unused);
    }
}

static void leave_to_destructor(void *unused)
{
    (void)unused;
    EQ(pthread_setspecific(key, &key), 0);
}

static void *leave_pthread_to_destructor(void *unused)
{
    return leave_to_destructor(unused), NULL;
}

/* The process exits while destructors of threads of all kinds start threads. */
static void exit_beside_destructors(long mode)
{
    enum { THREADS = 3, ENOUGH = 200 };
    pthread_t thread;
    pythread_set_reuse((int)mode);
    EQ(pthread_key_create(&key, call_for_ever), 0);
    for (int i = 0; i < THREADS; i++) {
        start(leave_to_destructor, NULL);
        EQ(pthread_create(&thread, NULL, leave_pthread_to_destructor, NULL), 0);
    }
    wait_for_at_least(&ran, ENOUGH);
    EQ(atexit(call_at_exit), 0);
    exit(0);
}

TEST(a_process_exits_while_destructors_start_threads)
{
    enum { ROUNDS = 20 };
    for (int i = 0; i < ROUNDS; i++) {
        run_in_process(exit_beside_destructors, i % 2);
    }
}
