/*
 * python_windows.c - the functions that use a Python interpreter, on Windows. Windows has no weak
 * symbols, by which python.c finds a Python in the process. So these functions find none.
 *
 * Callers: C programs.
 */
#include "pythread.h"

struct _object *PyThread_GetInfo(void)
{
    return NULL;
}

int PyThread_ParseTimeoutArg(struct _object *arg, int blocking, PY_TIMEOUT_T *nanoseconds)
{
    (void)arg;
    (void)blocking;
    (void)nanoseconds;
    return -1;
}

PyLockStatus PyThread_acquire_lock_timed_with_retries(PyThread_type_lock lock,
                                                      PY_TIMEOUT_T nanoseconds)
{
    /* Rounded up: a wait never ends early. */
    long long microseconds = nanoseconds < 0 ? -1 : nanoseconds / 1000 + (nanoseconds % 1000 != 0);
    return PyThread_acquire_lock_timed(lock, microseconds, 0);
}
