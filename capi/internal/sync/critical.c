/*
 * critical.c - critical sections: mutexes that a thread holds until it has to wait.
 *
 * The sections of a thread are a stack in the frames of their functions, linked by _cs_prev. A link
 * has the address of the next section in its upper bits. Its lowest bits are those of CPython:
 *
 *   SUSPENDED    the section's mutexes are not locked at the moment
 *   TWO_MUTEXES  it is a PyCriticalSection2
 *
 * Invariant: while a thread does not wait, its newest section is not suspended, and below one that
 * is suspended all are. A wait suspends all (critical_unlock_all). Its end locks the mutexes of the
 * newest alone. Those of another are locked when it becomes the newest. So where sections are
 * nested no thread waits for a mutex while it holds those of an older one, and none locks another
 * out.
 *
 * A section whose _cs_mutex is NULL has nothing to unlock: its mutex belongs to an older section,
 * or is about to be locked.
 */
#include "critical.h"

#include "pylock.h"
#include "status.h"

#include <stddef.h>

enum { SUSPENDED = 1, TWO_MUTEXES = 2, FLAGS = SUSPENDED | TWO_MUTEXES };

OS_THREAD_LOCAL uintptr_t critical_newest;

/* The thread whose sections they are. One that ended in the middle of a section leaves its OS
   thread to another thread, which is in none. */
THREAD_LOCAL PyThread_ident_t owner;

static PyCriticalSection *section_at(uintptr_t link)
{
    return (PyCriticalSection *)(link & ~(uintptr_t)FLAGS);
}

/* Where a section has its second mutex; where it has none, a NULL. */
static PyMutex **second_of(uintptr_t link)
{
    static PyMutex *none;
    return link & TWO_MUTEXES ? &((PyCriticalSection2 *)section_at(link))->_cs_mutex2 : &none;
}

/* ------------------------------------------------------------------------ waits */

bool critical_unlock_all(void)
{
    uintptr_t *link = &critical_newest;
    if (owner != identity_caller()) {
        critical_newest = 0;
        return false;
    }
    if (*link & SUSPENDED) {
        return false; /* The caller waits for a mutex of the newest, at the end of a wait. */
    }
    while (*link != 0 && !(*link & SUSPENDED)) {
        PyCriticalSection *section = section_at(*link);
        if (*second_of(*link) != NULL) {
            PyMutex_Unlock(*second_of(*link));
        }
        if (section->_cs_mutex != NULL) {
            PyMutex_Unlock(section->_cs_mutex);
        }
        *link |= SUSPENDED;
        link = &section->_cs_prev;
    }
    return true;
}

void critical_lock_newest(void)
{
    PyCriticalSection *section = section_at(critical_newest);
    if (section->_cs_mutex != NULL) {
        PyMutex_Lock(section->_cs_mutex);
    }
    if (*second_of(critical_newest) != NULL) {
        PyMutex_Lock(*second_of(critical_newest));
    }
    critical_newest &= ~(uintptr_t)SUSPENDED;
}

/* ------------------------------------------------------------------------ begin and end */

static void forget_sections_of_others(void)
{
    if (owner != identity_caller()) {
        owner = identity_caller();
        critical_newest = 0;
    }
}

static void push(PyCriticalSection *section, uintptr_t flags)
{
    section->_cs_mutex = NULL;
    section->_cs_prev = critical_newest;
    critical_newest = (uintptr_t)section | flags;
}

/* The caller has unlocked what the newest section had. */
static void pop(void)
{
    critical_newest = section_at(critical_newest)->_cs_prev;
    if (critical_newest & SUSPENDED) {
        critical_lock_newest();
    }
}

void PyCriticalSection_BeginMutex(PyCriticalSection *c, PyMutex *m)
{
    forget_sections_of_others();
    uintptr_t newest = critical_newest;
    if (newest != 0 && (section_at(newest)->_cs_mutex == m || *second_of(newest) == m)) {
        c->_cs_mutex = NULL;
        return;
    }
    /* If it has to wait, the wait suspends the older sections, and this one, which has nothing yet.
     */
    push(c, 0);
    PyMutex_Lock(m);
    c->_cs_mutex = m;
}

void PyCriticalSection_End(PyCriticalSection *c)
{
    if (c->_cs_mutex != NULL) {
        PyMutex_Unlock(c->_cs_mutex);
        pop();
    }
}

void PyCriticalSection2_BeginMutex(PyCriticalSection2 *c, PyMutex *m1, PyMutex *m2)
{
    PyMutex *first = (uintptr_t)m1 < (uintptr_t)m2 ? m1 : m2;
    PyMutex *second = first == m1 ? m2 : m1;
    c->_cs_mutex2 = NULL;
    if (m1 == m2) {
        PyCriticalSection_BeginMutex(&c->_cs_base, m1);
        return;
    }
    forget_sections_of_others();
    uintptr_t newest = critical_newest;
    if (newest != 0 && section_at(newest)->_cs_mutex == first && *second_of(newest) == second) {
        c->_cs_base._cs_mutex = NULL;
        return;
    }
    push(&c->_cs_base, TWO_MUTEXES);
    /* In the order of their addresses, as in all threads. */
    PyMutex_Lock(first);
    PyMutex_Lock(second);
    c->_cs_base._cs_mutex = first;
    c->_cs_mutex2 = second;
}

void PyCriticalSection2_End(PyCriticalSection2 *c)
{
    if (c->_cs_mutex2 != NULL) {
        PyMutex_Unlock(c->_cs_mutex2);
    }
    PyCriticalSection_End(&c->_cs_base);
}
