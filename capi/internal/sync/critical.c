/*
 * critical.c - critical sections, which hold mutexes until their thread waits, and the lock of a
 * mutex, which is such a wait.
 *
 * The sections of a thread are a stack in the frames of its functions. A link, which is
 * critical_newest or the _cs_prev of a section, is the address of a section with two flags:
 *
 *   SUSPENDED    its mutexes are not locked at this moment
 *   TWO_MUTEXES  it is a PyCriticalSection2
 *
 * Invariant: while a thread does not wait, its newest section is not suspended, and below a section
 * that is suspended all are. A wait suspends all. At its end the thread locks only the mutexes of
 * the newest. Those of another are locked when it becomes the newest. So a thread that waits for
 * the mutex of one section never holds that of another, and no threads lock each other out.
 *
 * A section whose _cs_mutex is NULL has nothing to unlock: the newest one before it has its mutex,
 * or it is about to get its mutex.
 *
 * This calls pylock.c and pythons.h.
 */
#include "critical.h"

#include "mutex.h"
#include "pythons.h"
#include "system/tsan.h"

#undef PyMutex_Lock
#undef PyMutex_Unlock

enum { SUSPENDED = 1, TWO_MUTEXES = 2, FLAGS = SUSPENDED | TWO_MUTEXES };
_Static_assert(_Alignof(PyCriticalSection) > FLAGS, "an address has room for the flags");

OS_THREAD_LOCAL uintptr_t critical_newest;

static PyCriticalSection *section_at(uintptr_t link)
{
    return (PyCriticalSection *)(link & ~(uintptr_t)FLAGS);
}

/* The second mutex of a section. NULL: it has one mutex, or none. */
static PyMutex *second_of(uintptr_t link)
{
    return link & TWO_MUTEXES ? ((PyCriticalSection2 *)section_at(link))->_cs_mutex2 : NULL;
}

/* ------------------------------------------------------------------------ waits */

void critical_unlock_all(void)
{
    uintptr_t *link = &critical_newest;
    while (*link != 0 && !(*link & SUSPENDED)) {
        PyCriticalSection *section = section_at(*link);
        PyMutex *second = second_of(*link);
        if (section->_cs_mutex != NULL) {
            PyMutex_Unlock(section->_cs_mutex);
        }
        if (second != NULL) {
            PyMutex_Unlock(second);
        }
        *link |= SUSPENDED;
        link = &section->_cs_prev;
    }
}

/* Locks a mutex while the caller's sections are suspended. */
static void lock_in_wait(PyMutex *m)
{
    if (!mutex_take(m, MUTEX_FREE)) {
        mutex_wait(m, OS_NO_DEADLINE, 0);
    }
    tsan_acquire(m);
}

void critical_lock_newest(void)
{
    PyMutex *first = section_at(critical_newest)->_cs_mutex, *second = second_of(critical_newest);
    if (first != NULL) {
        lock_in_wait(first);
    }
    if (second != NULL) {
        lock_in_wait(second);
    }
    critical_newest &= ~(uintptr_t)SUSPENDED;
}

uintptr_t critical_exchange(uintptr_t sections)
{
    uintptr_t before = critical_newest;
    critical_newest = sections;
    return before;
}

/* ------------------------------------------------------------------------ the lock of a mutex */

static PyLockStatus lock_taken(PyMutex *m, long long microseconds, int intr_flag)
{
    bool is_pythons = pythons.lock != NULL;
    if (microseconds == 0) {
        return mutex_try(m) ? PY_LOCK_ACQUIRED : PY_LOCK_FAILURE;
    }
    int64_t deadline = os_deadline_in_us(microseconds);
    if (!is_pythons && mutex_spin(m)) {
        return PY_LOCK_ACQUIRED;
    }
    critical_suspend();
    PyLockStatus status = mutex_wait(m, deadline, intr_flag);
    critical_resume();
    return status;
}

static inline PyLockStatus lock(PyMutex *m, long long microseconds, int intr_flag)
{
    PyLockStatus status =
        mutex_take(m, MUTEX_FREE) ? PY_LOCK_ACQUIRED : lock_taken(m, microseconds, intr_flag);
    if (status == PY_LOCK_ACQUIRED) {
        tsan_acquire(m);
    }
    return status;
}

PyLockStatus pythread_mutex_lock_timed(PyMutex *m, PY_TIMEOUT_T microseconds, int intr_flag)
{
    return lock(m, microseconds, intr_flag);
}

void PyMutex_Lock(PyMutex *m)
{
    lock(m, -1, 0);
}

/* ------------------------------------------------------------------------ sections */

static void push(PyCriticalSection *c, uintptr_t flags)
{
    c->_cs_mutex = NULL;
    c->_cs_prev = critical_newest;
    critical_newest = (uintptr_t)c | flags;
}

/* The caller has unlocked the mutexes of the newest section. */
static void pop(void)
{
    critical_newest = section_at(critical_newest)->_cs_prev;
    if (critical_newest & SUSPENDED) {
        critical_lock_newest();
    }
}

/* True for a section that a Python has begun. */
static bool began_in_python(const PyCriticalSection *c)
{
    return pythons.end != NULL && c != section_at(critical_newest);
}

/* The functions begin of a Python need a thread state. They set _cs_prev, but in a Python with a
   GIL, where they do nothing: there, and in other threads, the sections are this library's. */
enum { NOT_BEGUN = SUSPENDED };

static bool begin_in_python(PyCriticalSection *c, PyMutex *m)
{
    if (pythons.begin == NULL || !pythons_is_attached()) {
        return false;
    }
    c->_cs_prev = NOT_BEGUN;
    pythons.begin(c, m);
    return c->_cs_prev != NOT_BEGUN;
}

static bool begin2_in_python(PyCriticalSection2 *c, PyMutex *m1, PyMutex *m2)
{
    if (pythons.begin2 == NULL || !pythons_is_attached()) {
        return false;
    }
    c->_cs_base._cs_prev = NOT_BEGUN;
    pythons.begin2(c, m1, m2);
    return c->_cs_base._cs_prev != NOT_BEGUN;
}

void PyCriticalSection_BeginMutex(PyCriticalSection *c, PyMutex *m)
{
    uintptr_t newest = critical_newest;
    if (begin_in_python(c, m)) {
        return;
    }
    if (newest != 0 && (section_at(newest)->_cs_mutex == m || second_of(newest) == m)) {
        c->_cs_mutex = NULL;
    } else {
        push(c, 0);
        PyMutex_Lock(m);
        c->_cs_mutex = m;
    }
}

void PyCriticalSection_End(PyCriticalSection *c)
{
    if (c->_cs_mutex == NULL) {
        return; /* It has done nothing, also if a Python has begun it. */
    }
    if (began_in_python(c)) {
        pythons.end(c);
        return;
    }
    PyMutex_Unlock(c->_cs_mutex);
    pop();
}

void PyCriticalSection2_BeginMutex(PyCriticalSection2 *c, PyMutex *m1, PyMutex *m2)
{
    uintptr_t newest = critical_newest;
    /* All threads lock two mutexes in the order of their addresses. */
    PyMutex *first = (uintptr_t)m1 < (uintptr_t)m2 ? m1 : m2;
    PyMutex *second = first == m1 ? m2 : m1;
    if (begin2_in_python(c, m1, m2)) {
        return;
    }
    c->_cs_mutex2 = NULL;
    if (m1 == m2) {
        PyCriticalSection_BeginMutex(&c->_cs_base, m1);
    } else if (newest != 0 && section_at(newest)->_cs_mutex == first &&
               second_of(newest) == second) {
        c->_cs_base._cs_mutex = NULL;
    } else {
        push(&c->_cs_base, TWO_MUTEXES);
        PyMutex_Lock(first);
        PyMutex_Lock(second);
        c->_cs_base._cs_mutex = first;
        c->_cs_mutex2 = second;
    }
}

void PyCriticalSection2_End(PyCriticalSection2 *c)
{
    if (c->_cs_base._cs_mutex == NULL) {
        return;
    }
    if (began_in_python(&c->_cs_base)) {
        pythons.end2(c);
        return;
    }
    if (c->_cs_mutex2 != NULL) {
        PyMutex_Unlock(c->_cs_mutex2);
    }
    PyMutex_Unlock(c->_cs_base._cs_mutex);
    pop();
}
