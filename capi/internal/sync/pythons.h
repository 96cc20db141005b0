/* pythons.h - the functions for mutexes and critical sections of a Python in the process. */
#ifndef PYTHONS_H
#define PYTHONS_H

#include "pylock.h"

#include <stdbool.h>

struct _ts;

/*
 * The functions of a Python in the process. Python's code also uses mutexes by internal functions,
 * which this library does not replace. These functions use Python's own parking lot, and suspend
 * only the sections of threads that have a thread state. So if there is such a Python, all mutexes
 * of the process are Python's. So are the sections of threads that have a thread state.
 *
 * All pointers are NULL if there is no Python 3.13 or newer. On Windows they are always NULL. With
 * Python 3.13 `begin` and `begin2` are NULL, because it has no sections with mutexes. If Python was
 * loaded before this library, all pointers for sections are NULL, because then no code calls this
 * library's functions for sections.
 */
extern struct pythons {
    void (*lock)(PyMutex *), (*unlock)(PyMutex *);
    void (*begin)(PyCriticalSection *, PyMutex *), (*end)(PyCriticalSection *);
    void (*begin2)(PyCriticalSection2 *, PyMutex *, PyMutex *), (*end2)(PyCriticalSection2 *);
    /* Returns the caller's thread state if it is attached, else NULL. If Python has a GIL, a thread
       with an attached state holds the GIL. */
    struct _ts *(*state)(void);
    /* These detach the caller's thread state, and attach it again. */
    struct _ts *(*save)(void);
    void (*restore)(struct _ts *);
} pythons;

/* True if the caller has an attached thread state of a Python. */
static inline bool pythons_is_attached(void)
{
    return pythons.state != NULL && pythons.state() != NULL;
}

#endif
