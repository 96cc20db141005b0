/*
 * critical.c - critical sections, which unlock their mutexes while their thread waits. It also has
 * the functions that lock a mutex, because they may wait.
 *
 * The sections of a thread are a linked list, from the newest to the oldest. A link is
 * critical_newest, or the _cs_prev of a section. It is the address of the next section, with two
 * flags of that section:
 *
 *   SUSPENDED    the section's mutexes are not locked now
 *   TWO_MUTEXES  the section is a PyCriticalSection2
 *
 * Invariant: while a thread does not wait, its newest section is not suspended. All sections that
 * are older than a suspended section are suspended too.
 *
 * A wait suspends all sections. When the wait is over, the thread locks only the mutexes of its
 * newest section. It locks those of an older section when this section becomes the newest. So a
 * thread that waits for a mutex of one section never holds a mutex of another. A section with two
 * mutexes locks them in the order of their addresses. So threads never lock each other out.
 *
 * A section whose _cs_mutex is NULL has no mutex to unlock. Either the section does nothing,
 * because an older section has the mutex already, or its thread still waits for the mutex.
 *
 * Callers: C programs, do.c, lock.c, thread.c, trampoline.c, trampoline_windows.c.
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

/* Returns the second mutex of a section, or NULL if the section has one mutex or none. */
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

uintptr_t critical_exchange(uintptr_t newest)
{
    uintptr_t before = critical_newest;
    critical_newest = newest;
    return before;
}

/* ------------------------------------------------------------------------ the lock of a mutex */

/* Locks a mutex that is not FREE, as pythread_mutex_lock_timed does. */
static PyLockStatus lock_contended(PyMutex *m, long long microseconds, int intr_flag)
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
        mutex_take(m, MUTEX_FREE) ? PY_LOCK_ACQUIRED : lock_contended(m, microseconds, intr_flag);
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

/* Makes a section the newest. The caller locks the section's mutexes afterwards. So when a wait for
   them is over, the thread does not lock those of the older section again. */
static void push(PyCriticalSection *c, uintptr_t flags)
{
    c->_cs_mutex = NULL;
    c->_cs_prev = critical_newest;
    critical_newest = (uintptr_t)c | flags;
}

/* Removes the newest section, whose mutexes the caller has unlocked. */
static void pop(void)
{
    critical_newest = section_at(critical_newest)->_cs_prev;
    if (critical_newest & SUSPENDED) {
        critical_lock_newest();
    }
}

/* Tells whether a Python has begun a section: one of objects, or one of mutexes by the functions
   below. A thread may have sections of both kinds, one inside the other. */
static bool began_in_python(const PyCriticalSection *c)
{
    return pythons.end != NULL && c != section_at(critical_newest);
}

/*
 * Begins a section in Python, with a second mutex unless that is NULL. Reports whether Python did:
 * Python needs the caller's thread state, and a Python with a GIL does nothing. Then _cs_prev stays
 * as it was, and the section is this library's.
 */
static bool begin_in_python(PyCriticalSection *c, PyMutex *m1, PyMutex *m2)
{
    enum { NOT_BEGUN = SUSPENDED };
    if (pythons.begin == NULL || !pythons_is_attached()) {
        return false;
    }
    c->_cs_prev = NOT_BEGUN;
    if (m2 == NULL) {
        pythons.begin(c, m1);
    } else {
        pythons.begin2((PyCriticalSection2 *)c, m1, m2); /* its first field is c */
    }
    return c->_cs_prev != NOT_BEGUN;
}

void PyCriticalSection_BeginMutex(PyCriticalSection *c, PyMutex *m)
{
    uintptr_t newest = critical_newest;
    if (begin_in_python(c, m, NULL)) {
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
        return; /* The beginning did nothing, whether a Python or this library did it. */
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
    if (begin_in_python(&c->_cs_base, m1, m2)) {
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
