/* pythons.h - the functions for mutexes and critical sections of a Python in the process. */
#ifndef PYTHONS_H
#define PYTHONS_H

#include "pylock.h"

/*
 * The functions of a Python that comes after this library in the search order. Python's code also
 * uses mutexes by internal functions, which this library does not replace. These functions use
 * Python's own parking lot, and suspend only the sections that Python knows. So if there is such a
 * Python, all mutexes and sections of the process are Python's, and this library calls these
 * functions.
 *
 * All pointers are NULL if there is no Python 3.13 or newer. On Windows they are always NULL. With
 * Python 3.13 `begin` and `begin2` are NULL, because it has no sections with mutexes.
 */
extern struct pythons {
    void (*lock)(PyMutex *), (*unlock)(PyMutex *);
    void (*begin)(PyCriticalSection *, PyMutex *), (*end)(PyCriticalSection *);
    void (*begin2)(PyCriticalSection2 *, PyMutex *, PyMutex *), (*end2)(PyCriticalSection2 *);
} pythons;

#endif
