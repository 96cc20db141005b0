/*
 * critical_test.c - critical sections: the cases of CPython's test_critical_sections.c, with
 * mutexes instead of objects, and waits for mutexes and locks. A case with a wait ends only if the
 * wait suspends the sections.
 */
#define _GNU_SOURCE
#include "criticals.h"

/* ------------------------------------------------------------------------
 * CPython's cases
 * --------------------------------------------------------------------- */

TEST(critical_sections)
{
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&a);
    check_locked(true, false);
    Py_END_CRITICAL_SECTION();
    check_locked(false, false);

    Py_BEGIN_CRITICAL_SECTION2_MUTEX(&a, &b);
    check_locked(true, true);
    Py_END_CRITICAL_SECTION2();
    check_locked(false, false);

    Py_BEGIN_CRITICAL_SECTION2_MUTEX(&b, &a);
    check_locked(true, true);
    Py_END_CRITICAL_SECTION2();
    check_locked(false, false);

    Py_BEGIN_CRITICAL_SECTION2_MUTEX(&b, &b);
    check_locked(false, true);
    Py_END_CRITICAL_SECTION2();
    check_locked(false, false);
}

static void begin_and_end(PyMutex *m, int depth)
{
    Py_BEGIN_CRITICAL_SECTION_MUTEX(m);
    if (depth > 0) {
        begin_and_end(m, depth - 1);
    }
    Py_END_CRITICAL_SECTION();
}

static void begin_and_end_two(PyMutex *m1, PyMutex *m2, int depth)
{
    Py_BEGIN_CRITICAL_SECTION2_MUTEX(m1, m2);
    if (depth > 0) {
        begin_and_end_two(m2, m1, depth - 1);
    }
    Py_END_CRITICAL_SECTION2();
}

TEST(critical_sections_nest)
{
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&a);
    begin_and_end(&a, 10);
    check_locked(true, false);
    Py_END_CRITICAL_SECTION();
    check_locked(false, false);

    Py_BEGIN_CRITICAL_SECTION2_MUTEX(&b, &a);
    begin_and_end_two(&a, &b, 10);
    check_locked(true, true);
    Py_END_CRITICAL_SECTION2();
    check_locked(false, false);
}

/* An inner section whose mutexes the newest section has does nothing. So the thread that waits for
   a mutex must not get it. */
TEST(critical_sections_reacquisition)
{
    struct waiter waiter;
    PyCriticalSection inner;
    PyCriticalSection2 both, inner_both;
    PyCriticalSection2_BeginMutex(&both, &a, &b);
    start_waiter(&waiter, &a, -1, 0);
    wait_for_bits(&a, LOCKED | PARKED);
    PyCriticalSection_BeginMutex(&inner, &a);
    check_locked(true, true);
    PyCriticalSection_End(&inner);
    check_locked(true, true);
    PyCriticalSection_BeginMutex(&inner, &b);
    PyCriticalSection_End(&inner);
    check_locked(true, true);
    PyCriticalSection2_BeginMutex(&inner_both, &b, &a);
    PyCriticalSection2_End(&inner_both);
    check_locked(true, true);
    CHECK(is_waiting(&waiter));
    PyCriticalSection2_End(&both);
    EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
    check_locked(true, false);
}

static PyMutex *const three[] = {&a, &b, &c};
static long counts[3]; /* the mutex with the same index guards each */

static void *use_sections(void *number)
{
    uint32_t random = (uint32_t)(intptr_t)number + 1;
    for (int i = 0; i < 10000 / SLOWER; i++) {
        uint32_t one = next_random(&random) % 3, two = next_random(&random) % 3;
        Py_BEGIN_CRITICAL_SECTION_MUTEX(three[one]);
        counts[one]++;
        Py_BEGIN_CRITICAL_SECTION2_MUTEX(three[one], three[two]);
        counts[one]++;
        counts[two]++;
        if (i % 100 == 0) {
            sched_yield();
        }
        Py_BEGIN_CRITICAL_SECTION_MUTEX(three[two]);
        counts[two]++;
        Py_END_CRITICAL_SECTION();
        counts[one]++;
        Py_END_CRITICAL_SECTION2();
        counts[one]++;
        Py_END_CRITICAL_SECTION();
    }
    return NULL;
}

TEST(critical_sections_threads)
{
    enum { THREADS = 8 };
    run_threads(THREADS, use_sections);
    EQ(counts[0] + counts[1] + counts[2], THREADS * (10000 / SLOWER) * 6);
    check_locked(false, false);
    EQ(PyMutex_IsLocked(&c), 0);
}

/* ------------------------------------------------------------------------
 * Waits
 * --------------------------------------------------------------------- */

TEST(an_inner_section_takes_the_mutex_of_an_outer_one)
{
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&a);
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&b);
    check_locked(true, true);
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&a);
    check_locked(true, false); /* the wait for `a` has suspended both outer sections */
    Py_END_CRITICAL_SECTION();
    check_locked(false, true);
    Py_END_CRITICAL_SECTION();
    check_locked(true, false);
    Py_END_CRITICAL_SECTION();
    check_locked(false, false);
}

TEST(a_section_with_two_mutexes_takes_that_of_an_outer_one)
{
    for (int i = 0; i < 2; i++) {
        PyMutex *outer = i == 0 ? &a : &b;
        Py_BEGIN_CRITICAL_SECTION_MUTEX(outer);
        Py_BEGIN_CRITICAL_SECTION2_MUTEX(&a, &b);
        check_locked(true, true);
        Py_END_CRITICAL_SECTION2();
        check_locked(outer == &a, outer == &b);
        Py_END_CRITICAL_SECTION();
        check_locked(false, false);
    }
}

static void *use_both_and_unlock_c(void *unused)
{
    use_both(unused);
    PyMutex_Unlock(&c);
    return NULL;
}

static void wait_for_c(pthread_t thread)
{
    PyMutex_Lock(&c);
    EQ(pthread_join(thread, NULL), 0);
}

TEST(a_wait_for_a_mutex_suspends)
{
    PyMutex_Lock(&c);
    wait_in_sections(wait_for_c, use_both_and_unlock_c);
}

static void wait_for_c_timed(pthread_t thread)
{
    while (pythread_mutex_lock_timed(&c, 1000, 0) != PY_LOCK_ACQUIRED) {
    }
    EQ(pthread_join(thread, NULL), 0);
}

TEST(a_timed_wait_for_a_mutex_suspends)
{
    PyMutex_Lock(&c);
    wait_in_sections(wait_for_c_timed, use_both_and_unlock_c);
}

static PyThread_type_lock held;

static void *use_both_and_release(void *unused)
{
    use_both(unused);
    PyThread_release_lock(held);
    return NULL;
}

static void wait_for_lock(pthread_t thread)
{
    EQ(PyThread_acquire_lock(held, WAIT_LOCK), 1);
    EQ(pthread_join(thread, NULL), 0);
}

TEST(a_wait_for_a_lock_suspends)
{
    held = PyThread_allocate_lock();
    EQ(PyThread_acquire_lock(held, WAIT_LOCK), 1);
    wait_in_sections(wait_for_lock, use_both_and_release);
    PyThread_free_lock(held);
}

static atomic_int tries;

static void *try_to_use_both(void *unused)
{
    for (int i = 0; i < 100; i++) {
        EQ(try_lock(&a), PY_LOCK_FAILURE);
        EQ(try_lock(&b), PY_LOCK_FAILURE);
        atomic_fetch_add(&tries, 1);
        sched_yield();
    }
    return unused;
}

TEST(what_does_not_wait_suspends_nothing)
{
    pthread_t thread;
    held = PyThread_allocate_lock();
    EQ(PyThread_acquire_lock(held, WAIT_LOCK), 1);
    PyMutex_Lock(&c);
    Py_BEGIN_CRITICAL_SECTION2_MUTEX(&a, &b);
    EQ(pthread_create(&thread, NULL, try_to_use_both, NULL), 0);
    while (atomic_load(&tries) < 100) {
        EQ(try_lock(&c), PY_LOCK_FAILURE);
        EQ(PyThread_acquire_lock(held, NOWAIT_LOCK), 0);
        PyMutex_Unlock(&c);
        PyMutex_Lock(&c);
    }
    EQ(pthread_join(thread, NULL), 0);
    Py_END_CRITICAL_SECTION2();
    PyThread_free_lock(held);
}

TEST(errno_is_preserved)
{
    enum { VALUE = 4242 };
    errno = VALUE;
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&a);
    Py_BEGIN_CRITICAL_SECTION2_MUTEX(&b, &a);
    PyMutex_Lock(&c);
    EQ(pythread_mutex_lock_timed(&c, 1000, 0), PY_LOCK_FAILURE);
    Py_END_CRITICAL_SECTION2();
    Py_END_CRITICAL_SECTION();
    EQ(errno, VALUE);
    check_locked(false, false);
}

#ifndef _WIN32

TEST(a_child_of_a_fork_goes_on_in_its_sections)
{
    int status;
    pid_t child;
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&a);
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&b);
    child = fork();
    GE(child, 0);
    if (child == 0) {
        Py_BEGIN_CRITICAL_SECTION_MUTEX(&a);
        check_locked(true, false);
        Py_END_CRITICAL_SECTION();
        check_locked(false, true);
    }
    Py_END_CRITICAL_SECTION();
    check_locked(true, false);
    Py_END_CRITICAL_SECTION();
    check_locked(false, false);
    if (child == 0) {
        _exit(0);
    }
    EQ(waitpid(child, &status, 0), child);
    EQ(status, 0);
}

#endif
