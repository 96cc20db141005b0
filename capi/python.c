//go:build !windows

/*
 * python.c - the functions that use a Python interpreter: thread info, timeout arguments, and waits
 * that make Python's pending calls.
 *
 * CPython's functions are weak symbols, declared by hand. So the build needs no Python, and in a
 * process without Python they are NULL. Invariant: unless attached() has said that this thread has
 * a running Python, only the two functions in attached() are called, and no object is used. The
 * library keeps no object, so interpreters may end and begin again.
 *
 * Callers: C programs.
 */
#define _GNU_SOURCE
#include "pythread.h"

#include "system/os.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

#define PYTHON extern __attribute__((weak))

/* Every CPython since 3.4 exports all of these; PyGILState_Check is the newest. */
struct _ts;
struct _typeobject;
PYTHON struct _ts *PyGILState_GetThisThreadState(void);
PYTHON int PyGILState_Check(void);
PYTHON struct _ts *PyEval_SaveThread(void);
PYTHON void PyEval_RestoreThread(struct _ts *);
PYTHON int Py_MakePendingCalls(void);
PYTHON struct _object *PyObject_CallFunction(struct _object *, const char *, ...);
PYTHON struct _object *PyUnicode_FromFormat(const char *, ...);
PYTHON struct _object *PyObject_Type(struct _object *);
PYTHON int PyType_IsSubtype(struct _object *, struct _typeobject *);
PYTHON double PyFloat_AsDouble(struct _object *);
PYTHON long long PyLong_AsLongLong(struct _object *);
PYTHON struct _object *PyErr_Occurred(void);
PYTHON int PyErr_ExceptionMatches(struct _object *);
PYTHON void PyErr_SetString(struct _object *, const char *);
PYTHON struct _object *PySys_GetObject(const char *);
PYTHON void Py_IncRef(struct _object *);
PYTHON void Py_DecRef(struct _object *);
PYTHON struct _object _Py_NoneStruct;
PYTHON struct _typeobject PyFloat_Type;
PYTHON struct _object *PyExc_ValueError, *PyExc_OverflowError, *PyExc_RuntimeError;

/*
 * True if the caller may use Python: it has a thread state, which holds the GIL. This is already
 * true when a starting interpreter asks for sys.thread_info, where Py_IsInitialized is still false.
 * It is false again as soon as the interpreter has ended. (After sub-interpreters, PyGILState_Check
 * is true for every thread with a thread state.)
 */
static bool attached(void)
{
    return PyGILState_Check != NULL && PyGILState_GetThisThreadState() != NULL &&
           PyGILState_Check();
}

/* ------------------------------------------------------------------------ thread info */

/*
 * Returns sys.thread_info of this interpreter, a new reference. During the start of the interpreter
 * it does not exist yet, and CPython calls PyThread_GetInfo here instead of its own. CPython's own
 * must run once: it sets up a static type, which the end of the interpreter clears without a check.
 * It must not run each time: CPython 3.12 and 3.13 count the type again at every call, until their
 * table of types overflows.
 */
static struct _object *interpreters_info(void)
{
    struct _object *info = PySys_GetObject("thread_info");
    if (info != NULL) {
        Py_IncRef(info);
        return info;
    }
    void *found = dlsym(RTLD_NEXT, "PyThread_GetInfo");
    if (found == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "lost sys.thread_info");
        return NULL;
    }
    struct _object *(*get_info)(void);
    memcpy(&get_info, &found, sizeof get_info);
    return get_info();
}

struct _object *PyThread_GetInfo(void)
{
    struct _object *theirs = attached() ? interpreters_info() : NULL;
    if (theirs == NULL) {
        return NULL;
    }
    /* The same type with this library's values. CPython's tests want "pthread" on Linux, and
       threads here do run on pthreads. A lock is a binary semaphore. */
    struct _object *type = PyObject_Type(theirs);
    struct _object *ours =
        PyObject_CallFunction(type, "((ssN))", "pthread", "semaphore",
                              PyUnicode_FromFormat("libpythread %s", pythread_version()));
    Py_DecRef(type);
    Py_DecRef(theirs);
    return ours;
}

/* ------------------------------------------------------------------------ timeouts */

enum { SECOND = 1000000000 };

static int refuse(struct _object *exception, const char *message)
{
    PyErr_SetString(exception, message);
    return -1;
}

/*
 * Converts seconds to nanoseconds, rounded away from zero: a short time must not become a try, and
 * a small negative time must stay negative. The result fits a long long exactly if it is at most
 * PY_TIMEOUT_MAX, because no whole second and no double lies between these limits.
 */
static int to_nanoseconds(struct _object *seconds, long long *nanoseconds)
{
    static const char too_large[] = "timeout value is too large";
    struct _object *type = PyObject_Type(seconds);
    bool is_float = PyType_IsSubtype(type, &PyFloat_Type) != 0;
    Py_DecRef(type);
    if (is_float) {
        double exact = PyFloat_AsDouble(seconds) * SECOND;
        if (exact != exact) {
            return refuse(PyExc_ValueError, "timeout value is not a number (NaN)");
        }
        if (exact < -0x1p63 || exact >= 0x1p63) {
            return refuse(PyExc_OverflowError, too_large);
        }
        long long truncated = (long long)exact;
        *nanoseconds = truncated + (exact > (double)truncated) - (exact < (double)truncated);
        return 0;
    }
    /* An int, or an object with __index__. For any other, this raises a TypeError. */
    long long whole = PyLong_AsLongLong(seconds);
    if (whole == -1 && PyErr_Occurred() != NULL) {
        return PyErr_ExceptionMatches(PyExc_OverflowError) ? refuse(PyExc_OverflowError, too_large)
                                                           : -1;
    }
    if (whole < LLONG_MIN / SECOND || whole > LLONG_MAX / SECOND) {
        return refuse(PyExc_OverflowError, too_large);
    }
    *nanoseconds = whole * SECOND;
    return 0;
}

int PyThread_ParseTimeoutArg(struct _object *arg, int blocking, PY_TIMEOUT_T *nanoseconds)
{
    if (nanoseconds == NULL || !attached()) {
        return -1;
    }
    if (arg == NULL || arg == &_Py_NoneStruct) {
        *nanoseconds = blocking ? PyThread_UNSET_TIMEOUT : 0;
        return 0;
    }
    if (!blocking) {
        return refuse(PyExc_ValueError, "can't specify a timeout for a non-blocking call");
    }
    long long parsed;
    if (to_nanoseconds(arg, &parsed) != 0) {
        return -1;
    }
    if (parsed < 0) {
        return refuse(PyExc_ValueError, "timeout value must be a non-negative number");
    }
    *nanoseconds = parsed;
    return 0;
}

/* ------------------------------------------------------------------------ waits */

PyLockStatus PyThread_acquire_lock_timed_with_retries(PyThread_type_lock lock,
                                                      PY_TIMEOUT_T nanoseconds)
{
    long long start = nanoseconds > 0 ? os_now_ns() : 0;
    for (long long left = nanoseconds;;) {
        /* Most locks are free, so this releases the GIL only for a wait. */
        PyLockStatus status = PyThread_acquire_lock_timed(lock, 0, 0);
        if (status != PY_LOCK_FAILURE || left == 0) {
            return status;
        }
        struct _ts *state = attached() ? PyEval_SaveThread() : NULL;
        /* Rounded up: a wait never ends early. */
        status =
            PyThread_acquire_lock_timed(lock, left < 0 ? -1 : left / 1000 + (left % 1000 != 0), 1);
        if (state != NULL) {
            PyEval_RestoreThread(state);
        }
        if (status != PY_LOCK_INTR || (state != NULL && Py_MakePendingCalls() != 0)) {
            return status;
        }
        if (left > 0) {
            long long passed = os_now_ns() - start;
            /* When the time is up there is one more try, as the handler may have freed the lock. */
            left = passed < nanoseconds ? nanoseconds - passed : 0;
        }
    }
}
