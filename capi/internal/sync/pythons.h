/* pythons.h - a Python's own functions for mutexes and critical sections. */
#ifndef PYTHONS_H
#define PYTHONS_H

#include "pylock.h"

#include <stdbool.h>

struct _ts;

/*
 * The functions of a Python in the process. This Python also has internal functions with other
 * names. These wait in its own parking lot, and suspend the sections of its own threads. So the
 * mutexes of the process are Python's, and the sections of threads that have a thread state.
 *
 * All are NULL without a Python of 3.13 or newer. begin and begin2 are NULL in 3.13 too, which has
 * no sections with mutexes. Those of sections are NULL where Python is loaded before this library:
 * there nobody calls this library's functions of these names.
 */
extern struct pythons {
    void (*lock)(PyMutex *), (*unlock)(PyMutex *);
    void (*begin)(PyCriticalSection *, PyMutex *), (*end)(PyCriticalSection *);
    void (*begin2)(PyCriticalSection2 *, PyMutex *, PyMutex *), (*end2)(PyCriticalSection2 *);
    /* The thread state of the caller, if it is attached: it holds the GIL, where there is one. */
    struct _ts *(*state)(void);
    /* Detach the thread state of the caller, and attach it again. */
    struct _ts *(*save)(void);
    void (*restore)(struct _ts *);
} pythons;

static inline bool pythons_is_attached(void)
{
    return pythons.state != NULL && pythons.state() != NULL;
}

#endif
