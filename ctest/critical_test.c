/*
 * critical_test.c - critical sections: the cases of CPython's test_critical_sections.c with mutexes
 * in place of objects, and the waits that suspend a section. A section that does not let go shows
 * as a case that does not end.
 */
#define _GNU_SOURCE
#include "pthreads.h"
#include "pylock.h"

#include <sched.h>
#include <stdbool.h>

static PyMutex a, b, c;

static void check_locked(bool is_a, bool is_b)
{
    EQ(PyMutex_IsLocked(&a), is_a);
    EQ(PyMutex_IsLocked(&b), is_b);
}

TEST(a_section_holds_its_mutex_from_begin_to_end)
{
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&a);
    check_locked(true, false);
    Py_END_CRITICAL_SECTION();
    check_locked(false, false);
}

TEST(a_section_with_two_mutexes_takes_them_in_any_order)
{
    Py_BEGIN_CRITICAL_SECTION2_MUTEX(&a, &b);
    check_locked(true, true);
    Py_END_CRITICAL_SECTION2();
    check_locked(false, false);
    Py_BEGIN_CRITICAL_SECTION2_MUTEX(&b, &a);
    check_locked(true, true);
    Py_END_CRITICAL_SECTION2();
    check_locked(false, false);
}

TEST(the_same_mutex_twice_counts_as_one)
{
    Py_BEGIN_CRITICAL_SECTION2_MUTEX(&a, &a);
    check_locked(true, false);
    Py_END_CRITICAL_SECTION2();
    check_locked(false, false);
}

TEST(a_section_with_what_the_newest_holds_does_nothing)
{
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&a);
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&a);
    check_locked(true, false);
    Py_END_CRITICAL_SECTION();
    check_locked(true, false);
    Py_BEGIN_CRITICAL_SECTION2_MUTEX(&a, &a);
    check_locked(true, false);
    Py_END_CRITICAL_SECTION2();
    check_locked(true, false);
    Py_END_CRITICAL_SECTION();
    check_locked(false, false);

    Py_BEGIN_CRITICAL_SECTION2_MUTEX(&a, &b);
    Py_BEGIN_CRITICAL_SECTION2_MUTEX(&b, &a);
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&a);
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&b);
    check_locked(true, true);
    Py_END_CRITICAL_SECTION();
    Py_END_CRITICAL_SECTION();
    Py_END_CRITICAL_SECTION2();
    check_locked(true, true);
    Py_END_CRITICAL_SECTION2();
    check_locked(false, false);
}

/* An inner section takes over what an outer one holds, which then waits for it. */
TEST(an_inner_section_takes_over_what_outer_ones_hold)
{
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&a);
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&b);
    check_locked(true, true);
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&a);
    check_locked(true, false); /* The wait for it has suspended both. */
    Py_END_CRITICAL_SECTION();
    check_locked(false, true);
    Py_END_CRITICAL_SECTION();
    check_locked(true, false);
    Py_END_CRITICAL_SECTION();
    check_locked(false, false);
}

TEST(a_section_with_two_mutexes_takes_over_one_that_is_held)
{
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&b);
    Py_BEGIN_CRITICAL_SECTION2_MUTEX(&a, &b);
    check_locked(true, true);
    Py_END_CRITICAL_SECTION2();
    check_locked(false, true);
    Py_END_CRITICAL_SECTION();
    check_locked(false, false);
}

/* ---- waits that suspend ---- */

static void *use_both(void *unused)
{
    PyMutex_Lock(&a);
    PyMutex_Lock(&b);
    PyMutex_Unlock(&b);
    PyMutex_Unlock(&a);
    return unused;
}

static void *use_both_and_unlock(void *unused)
{
    use_both(unused);
    PyMutex_Unlock(&c);
    return unused;
}

/* The waits in which the sections of a and b are suspended: else the thread does not end. */
static void wait_in_sections(void (*wait)(pthread_t thread), void *(*run)(void *))
{
    pthread_t thread;
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&a);
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&b);
    EQ(pthread_create(&thread, NULL, run, NULL), 0);
    wait(thread);
    check_locked(false, true); /* the newest's alone */
    Py_END_CRITICAL_SECTION();
    check_locked(true, false);
    Py_END_CRITICAL_SECTION();
    check_locked(false, false);
    Py_BEGIN_CRITICAL_SECTION2_MUTEX(&a, &b);
    EQ(pthread_create(&thread, NULL, run, NULL), 0);
    wait(thread);
    check_locked(true, true);
    Py_END_CRITICAL_SECTION2();
    check_locked(false, false);
}

static void wait_for_mutex(pthread_t thread)
{
    PyMutex_Lock(&c);
    EQ(pthread_join(thread, NULL), 0);
}

TEST(a_wait_for_a_mutex_suspends)
{
    PyMutex_Lock(&c);
    wait_in_sections(wait_for_mutex, use_both_and_unlock);
}

static void wait_for_mutex_timed(pthread_t thread)
{
    while (pythread_mutex_lock_timed(&c, 1000, 0) != PY_LOCK_ACQUIRED) {
    }
    EQ(pthread_join(thread, NULL), 0);
}

TEST(a_timed_wait_for_a_mutex_suspends)
{
    PyMutex_Lock(&c);
    wait_in_sections(wait_for_mutex_timed, use_both_and_unlock);
}

static PyThread_type_lock lock;

static void *use_both_and_release(void *unused)
{
    use_both(unused);
    PyThread_release_lock(lock);
    return unused;
}

static void wait_for_lock(pthread_t thread)
{
    EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
    EQ(pthread_join(thread, NULL), 0);
}

TEST(a_wait_for_a_lock_suspends)
{
    lock = PyThread_allocate_lock();
    EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
    PyMutex_Lock(&c);
    wait_in_sections(wait_for_lock, use_both_and_release);
}

#ifndef PYTHREAD_WITHOUT_GO

static PyThread_handle_t handle;

static void use_both_in_thread(void *unused)
{
    use_both(unused);
}

static void *start(void *unused)
{
    PyThread_ident_t ident;
    EQ(PyThread_start_joinable_thread(use_both_in_thread, NULL, &ident, &handle), 0);
    return unused;
}

static void join(pthread_t thread)
{
    EQ(pthread_join(thread, NULL), 0);
    EQ(PyThread_join_thread(handle), 0);
}

TEST(a_join_suspends)
{
    PyMutex_Lock(&c);
    wait_in_sections(join, start);
}

static void hang_in_section(void *unused)
{
    (void)unused;
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&a);
    PyMutex_Unlock(&c);
    PyThread_hang_thread();
    Py_END_CRITICAL_SECTION();
}

TEST(a_thread_that_hangs_is_suspended)
{
    PyMutex_Lock(&c);
    NE(PyThread_start_new_thread(hang_in_section, NULL), PYTHREAD_INVALID_THREAD_ID);
    PyMutex_Lock(&c);
    PyMutex_Lock(&a);
}

static void leave_section_open(void *unused)
{
    static PyCriticalSection section;
    (void)unused;
    PyCriticalSection_BeginMutex(&section, &a);
}

static void wait_a_moment(void *unused)
{
    (void)unused;
    EQ(pythread_mutex_lock_timed(&c, 1000, 0), PY_LOCK_FAILURE);
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&b);
    EQ(pythread_mutex_lock_timed(&c, 1000, 0), PY_LOCK_FAILURE);
    check_locked(true, true);
    Py_END_CRITICAL_SECTION();
}

static void run(void (*func)(void *))
{
    PyThread_ident_t ident;
    EQ(PyThread_start_joinable_thread(func, NULL, &ident, &handle), 0);
    EQ(PyThread_join_thread(handle), 0);
}

static void *lock_a(void *was_locked)
{
    PyMutex_Lock(&a);
    atomic_store((atomic_bool *)was_locked, true);
    return NULL;
}

/* The threads run on the same OS thread, most likely. */
TEST(a_section_that_was_not_ended_is_none_of_the_next_thread)
{
    static atomic_bool is_unlocked;
    pthread_t thread;
    PyMutex_Lock(&c);
    pythread_set_reuse(PYTHREAD_REUSE_ALWAYS);
    run(leave_section_open);
    EQ(pthread_create(&thread, NULL, lock_a, &is_unlocked), 0);
    for (int i = 0; i < 10; i++) {
        run(wait_a_moment);
        CHECK(!atomic_load(&is_unlocked));
    }
    PyMutex_Unlock(&a);
    EQ(pthread_join(thread, NULL), 0);
}

#endif

/* ---- many threads ---- */

static long counts[3]; /* guarded by a, by b, by a and b */

static void *count_in_sections(void *number)
{
    PyMutex *outer = (intptr_t)number % 2 == 0 ? &a : &b, *inner = outer == &a ? &b : &a;
    for (int i = 0; i < 10000 / SLOWER; i++) {
        Py_BEGIN_CRITICAL_SECTION_MUTEX(outer);
        counts[outer == &b]++;
        Py_BEGIN_CRITICAL_SECTION_MUTEX(inner);
        counts[inner == &b]++;
        Py_BEGIN_CRITICAL_SECTION2_MUTEX(outer, inner);
        counts[2]++;
        if (i % 100 == 0) {
            sched_yield();
        }
        Py_END_CRITICAL_SECTION2();
        counts[inner == &b]++;
        Py_END_CRITICAL_SECTION();
        counts[outer == &b]++;
        Py_END_CRITICAL_SECTION();
    }
    return NULL;
}

TEST(sections_that_are_nested_in_both_orders_lock_nobody_out)
{
    enum { THREADS = 8 };
    run_threads(THREADS, count_in_sections);
    EQ(counts[0], THREADS * 2 * (10000 / SLOWER));
    EQ(counts[1], THREADS * 2 * (10000 / SLOWER));
    EQ(counts[2], THREADS * (10000 / SLOWER));
    check_locked(false, false);
}
