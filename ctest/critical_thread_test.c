/*
 * critical_thread_test.c - critical sections in threads of the library. A join suspends the
 * sections of its caller, and a thread may end in a section.
 */
#define _GNU_SOURCE
#include "criticals.h"

static PyThread_ident_t ident;
static PyThread_handle_t handle;

static void use_both_in_thread(void *unused)
{
    use_both(unused);
}

static void *start(void *unused)
{
    EQ(PyThread_start_joinable_thread(use_both_in_thread, NULL, &ident, &handle), 0);
    return unused;
}

static void join_started(pthread_t thread)
{
    EQ(pthread_join(thread, NULL), 0);
    EQ(PyThread_join_thread(handle), 0);
}

TEST(a_join_suspends)
{
    wait_in_sections(join_started, start);
}

static void hang_in_section(void *unused)
{
    (void)unused;
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&a);
    PyMutex_Unlock(&c);
    PyThread_hang_thread();
    Py_END_CRITICAL_SECTION();
}

TEST(a_thread_that_hangs_suspends)
{
    PyMutex_Lock(&c);
    NE(PyThread_start_new_thread(hang_in_section, NULL), PYTHREAD_INVALID_THREAD_ID);
    PyMutex_Lock(&c);
    PyMutex_Lock(&a);
}

static void end_in_section(void *unused)
{
    static PyCriticalSection section;
    (void)unused;
    PyCriticalSection_BeginMutex(&section, &a);
}

static void wait_in_section(void *unused)
{
    (void)unused;
    EQ(pythread_mutex_lock_timed(&c, 1000, 0), PY_LOCK_FAILURE);
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&b);
    EQ(pythread_mutex_lock_timed(&c, 1000, 0), PY_LOCK_FAILURE);
    check_locked(true, true);
    Py_END_CRITICAL_SECTION();
    check_locked(true, false);
}

static void run(void (*func)(void *))
{
    EQ(PyThread_start_joinable_thread(func, NULL, &ident, &handle), 0);
    EQ(PyThread_join_thread(handle), 0);
}

/* The first thread ends in a section, so the section's mutex stays locked. The next threads run on
   the same OS thread. Their waits must not unlock this mutex, for which another thread waits. */
TEST(the_next_thread_on_an_os_thread_begins_in_no_section)
{
    struct waiter waiter;
    PyMutex_Lock(&c);
    pythread_set_reuse(PYTHREAD_REUSE_ALWAYS);
    run(end_in_section);
    start_waiter(&waiter, &a, -1, 0);
    for (int i = 0; i < 10; i++) {
        run(wait_in_section);
        CHECK(is_waiting(&waiter));
    }
    PyMutex_Unlock(&a);
    EQ(end_of(&waiter), PY_LOCK_ACQUIRED);
}
