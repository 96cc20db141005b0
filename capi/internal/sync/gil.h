/*
 * gil.h - whether the caller holds the GIL of a Python in this process, and how it gives it up.
 *
 * CPython's functions are weak symbols, declared by hand: the build needs no Python, and a process
 * without one has NULL in their place. On Windows no symbol is weak.
 */
#ifndef GIL_H
#define GIL_H

#include <stdbool.h>
#include <stddef.h>

struct _ts;

#ifdef _WIN32

static inline struct _ts *gil_give_up(void)
{
    return NULL;
}

static inline void gil_take_back(struct _ts *state)
{
    (void)state;
}

#else

/* Every CPython since 3.4 exports all of these; PyGILState_Check is the youngest. */
extern __attribute__((weak)) struct _ts *PyGILState_GetThisThreadState(void);
extern __attribute__((weak)) int PyGILState_Check(void);
extern __attribute__((weak)) struct _ts *PyEval_SaveThread(void);
extern __attribute__((weak)) void PyEval_RestoreThread(struct _ts *);

/*
 * Whether the caller may use Python: it has a thread state, and that one holds
 * the GIL. True already when an interpreter that starts up asks for its
 * sys.thread_info, where Py_IsInitialized is not yet; and false again as soon
 * as it has ended. (Once there were sub-interpreters, PyGILState_Check believes
 * every thread that has a state.)
 */
static inline bool gil_is_held(void)
{
    return PyGILState_Check != NULL && PyGILState_GetThisThreadState() != NULL &&
           PyGILState_Check();
}

/* Gives the GIL up, if the caller holds it, before a wait. gil_take_back gets what this returned.
 */
static inline struct _ts *gil_give_up(void)
{
    return gil_is_held() ? PyEval_SaveThread() : NULL;
}

static inline void gil_take_back(struct _ts *state)
{
    if (state != NULL) {
        PyEval_RestoreThread(state);
    }
}

#endif

#endif
