/* pythons.h - a Python's own functions for mutexes and critical sections. */
#ifndef PYTHONS_H
#define PYTHONS_H

#include "pylock.h"

/*
 * The functions of a Python that this library is loaded before. This Python also has internal
 * functions with other names. These wait in its own parking lot, and suspend the sections of its
 * own threads. So the mutexes and sections of the process are Python's.
 *
 * All are NULL without a Python of 3.13 or newer. begin and begin2 are NULL in 3.13 too, which has
 * no sections with mutexes.
 */
extern struct pythons {
    void (*lock)(PyMutex *), (*unlock)(PyMutex *);
    void (*begin)(PyCriticalSection *, PyMutex *), (*end)(PyCriticalSection *);
    void (*begin2)(PyCriticalSection2 *, PyMutex *, PyMutex *), (*end2)(PyCriticalSection2 *);
} pythons;

#endif
