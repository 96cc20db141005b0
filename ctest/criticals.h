/*
 * criticals.h - mutexes for critical sections, and a wait in sections of two of them.
 */
#ifndef CRITICALS_H
#define CRITICALS_H

#include "mutexes.h"

#include <sched.h>
#ifndef _WIN32
#include <sys/wait.h>
#endif

static PyMutex a, b, c;

static inline void check_locked(bool is_a, bool is_b)
{
    EQ(PyMutex_IsLocked(&a), is_a);
    EQ(PyMutex_IsLocked(&b), is_b);
}

/* For another thread: needs both mutexes at the same time. It locks them in the order in which a
   section with two mutexes locks them, that of their addresses. */
static inline void *use_both(void *unused)
{
    PyMutex *first = (uintptr_t)&a < (uintptr_t)&b ? &a : &b;
    PyMutex *second = first == &a ? &b : &a;
    PyMutex_Lock(first);
    PyMutex_Lock(second);
    PyMutex_Unlock(second);
    PyMutex_Unlock(first);
    return unused;
}

/* Calls `wait` in two nested sections, and in one with two mutexes. The wait must end when a thread
   that runs `run` does, which uses both mutexes. */
static inline void wait_in_sections(void (*wait)(pthread_t thread), void *(*run)(void *))
{
    pthread_t thread;
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&a);
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&b);
    EQ(pthread_create(&thread, NULL, run, NULL), 0);
    wait(thread);
    check_locked(false, true); /* only that of the newest */
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

#endif
