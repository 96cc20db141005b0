/*
 * pylock.h - CPython's PyMutex (Include/cpython/pylock.h, Python/lock.c): a lock of
 * one byte, without a Python. It is a part of libpythread.
 *
 * The names, the byte's values and the contracts are those of CPython 3.13 to 3.15. So
 * objects that were compiled with CPython's own header work with this library, and the
 * other way round. The include guard is CPython's: this header steps aside where Python.h
 * came first, and the other way round.
 *
 * Code that was written for CPython often locks only where Py_GIL_DISABLED is defined.
 * Without a Python there is no GIL: compile such code with -DPy_GIL_DISABLED.
 *
 * Unless a comment says otherwise, every function may be called from any thread at any
 * time, in the child of a fork, and in a signal handler never. None of them sets errno,
 * and none of them enters or wakes Go.
 */
#ifndef Py_LOCK_H
#define Py_LOCK_H

#include <pythread.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------
 * Mutexes
 * --------------------------------------------------------------------- */

/*
 * A mutex: one byte, and free where it is 0. So one in static memory or in zeroed
 * memory is ready to use, and nothing is to be destroyed. It has no owner: any thread
 * may unlock it. It is not recursive: a thread that locks it twice waits for another's
 * unlock. It must not be copied or moved once it was used. Its memory may be given
 * back as soon as the last of its users has unlocked it.
 *
 * What a thread did before an unlock happens before what the next holder does. Waiters
 * sleep in the order in which they came. One that is woken competes with threads that
 * run, but at least every 0.2 ms the mutex is kept free for it.
 *
 * A lock and an unlock that nobody contends are one instruction each. Mutexes that
 * share a cache line, as 64 in an array do, slow each other down.
 *
 * 0 is free, and 1 is locked (_Py_UNLOCKED, _Py_LOCKED). The other values say that
 * threads wait. The lowest bit is set where it is locked. CPython: since 3.13.
 *
 * @code
 * #include <pylock.h>
 * #include <stdio.h>
 *
 * static PyMutex mutex;
 * static int count;
 *
 * static void add(void *arg)
 * {
 *     (void)arg;
 *     for (int i = 0; i < 1000; i++) {
 *         PyMutex_Lock(&mutex);
 *         count++;
 *         PyMutex_Unlock(&mutex);
 *     }
 * }
 *
 * int main(void)
 * {
 *     PyThread_ident_t ident;
 *     PyThread_handle_t a, b;
 *     if (PyThread_start_joinable_thread(add, NULL, &ident, &a) != 0 ||
 *         PyThread_start_joinable_thread(add, NULL, &ident, &b) != 0) {
 *         return 1;
 *     }
 *     PyThread_join_thread(a);
 *     PyThread_join_thread(b);
 *     printf("%d\n", count);
 *     return count == 2000 ? 0 : 1;
 * }
 * @endcode
 */
typedef struct PyMutex {
    uint8_t _bits; /* not to be written but by the functions here */
} PyMutex;

#define _Py_UNLOCKED 0
#define _Py_LOCKED 1

/* What a PyMutex is initialized with: free. CPython: since 3.15. */
#define PyMutex_STATIC_INIT                                                                        \
    {                                                                                              \
        _Py_UNLOCKED                                                                               \
    }

/*
 * Locks a mutex. Blocks until it is free; signal handlers run meanwhile and do not
 * end the wait. CPython: since 3.13.
 */
PYTHREAD_API void PyMutex_Lock(PyMutex *m);

/*
 * Unlocks a mutex, whoever locked it, and lets one waiter have it. Never blocks. Where
 * it is not locked, the process ends by abort with a line on stderr. CPython: since 3.13.
 */
PYTHREAD_API void PyMutex_Unlock(PyMutex *m);

/*
 * Whether a mutex is locked at this moment, by any thread: for assertions and for
 * debugging. Never blocks.
 *
 *   1   it is locked
 *   0   it is free
 *
 * CPython: since 3.14.
 */
PYTHREAD_API int PyMutex_IsLocked(PyMutex *m);

/*
 * Locks a mutex within a time.
 *
 * m             the mutex
 * microseconds  0 tries; more waits so long on the monotonic clock, never
 *               less, and no more than PY_TIMEOUT_MAX; negative waits for ever
 * intr_flag     as in PyThread_acquire_lock_timed
 *
 *   PY_LOCK_ACQUIRED   locked, also where a signal came at the same time
 *   PY_LOCK_FAILURE    in use to the end of that time
 *   PY_LOCK_INTR       intr_flag is set and a signal handler ran
 *
 * CPython has no counterpart.
 */
PYTHREAD_NODISCARD PYTHREAD_API PyLockStatus pythread_mutex_lock_timed(PyMutex *m,
                                                                       PY_TIMEOUT_T microseconds,
                                                                       int intr_flag);

#ifdef __GNUC__

/* Acquire, and release: what a holder did happens before what the next one does. */
static inline void _PyMutex_Lock(PyMutex *m)
{
    uint8_t unlocked = _Py_UNLOCKED;
    if (!__atomic_compare_exchange_n(&m->_bits, &unlocked, _Py_LOCKED, 0, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED)) {
        PyMutex_Lock(m);
    }
}

static inline void _PyMutex_Unlock(PyMutex *m)
{
    uint8_t locked = _Py_LOCKED;
    if (!__atomic_compare_exchange_n(&m->_bits, &locked, _Py_UNLOCKED, 0, __ATOMIC_RELEASE,
                                     __ATOMIC_RELAXED)) {
        PyMutex_Unlock(m);
    }
}

static inline int _PyMutex_IsLocked(PyMutex *m)
{
    return (__atomic_load_n(&m->_bits, __ATOMIC_RELAXED) & _Py_LOCKED) != 0;
}

/* CPython has it so too: the names are functions, for those that look them up, and inline
   where this header is. */
#define PyMutex_Lock _PyMutex_Lock
#define PyMutex_Unlock _PyMutex_Unlock
#define PyMutex_IsLocked _PyMutex_IsLocked

#endif /* __GNUC__ */

#ifdef __cplusplus
}
#endif

#endif /* Py_LOCK_H */
