/*
 * pylock.h - CPython's PyMutex (Include/cpython/pylock.h, Python/lock.c), a mutex of one
 * byte, and CPython's critical sections (Include/cpython/critical_section.h), without a
 * Python. It is a part of libpythread.
 *
 * The names, the values of the byte and the contracts are those of CPython 3.13 to 3.15.
 * So objects that were compiled with CPython's header work with this library. Objects that
 * were compiled with this header work with CPython. The include guards are CPython's. If
 * code includes this header and Python.h, only the first of them declares these names.
 *
 * A program may be linked with a Python 3.13 or newer after this library, or a Python may
 * run with this library preloaded. Then mutexes are Python's, and the functions here call
 * Python's functions, because Python's own code uses the same mutexes. Then no signal ends
 * a wait of pythread_mutex_lock_timed, and a wait with a limit looks at the mutex once a
 * millisecond. Each wait gives up the GIL. Go code must not use such a mutex.
 *
 * In a thread with an attached thread state, critical sections are Python's. In other
 * threads they are this library's. So they are in a Python with a GIL and in Python 3.13,
 * which have no sections with mutexes.
 *
 * A Python may also come before this library, for example if it loads a module that is
 * linked with this library. Then mutexes are Python's too. But code then calls Python's
 * functions for critical sections directly. They need a thread state and Python 3.14.
 *
 * Code that was written for CPython often locks only if Py_GIL_DISABLED is defined.
 * Without Python there is no GIL. So compile such code with -DPy_GIL_DISABLED.
 *
 * Every function may be called from any thread at any time, and in the child of a fork. No
 * function may be called in a signal handler. If a function differs, its comment says so.
 * No function sets errno, and none enters or starts Go.
 */
#ifndef Py_LOCK_H
#define Py_LOCK_H

#include "pythread.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------
 * Mutexes
 * --------------------------------------------------------------------- */

/*
 * A mutex: one byte, which is 0 while the mutex is free. So a mutex in static or zeroed
 * memory is ready to use, and needs no function that destroys it. A mutex has no owner: any
 * thread may unlock it. It is not recursive: a thread that locks it twice waits until
 * another thread unlocks it. It must not be copied or moved after its first use. Its memory
 * may be freed as soon as its last user has unlocked it.
 *
 * What a thread did before an unlock happens before what the next holder does. Waiters are
 * woken in the order in which they came. A waiter that is woken competes with threads that
 * run. But about once in 0.2 ms, an unlock reserves the mutex for the waiter that it wakes.
 * Then other threads that wait leave the mutex to this waiter, for 0.2 ms at most.
 *
 * Without contention, a lock and an unlock are one instruction each. Mutexes in one cache
 * line, such as 64 in an array, slow each other down.
 *
 * The byte is 0 while the mutex is free, and 1 while it is locked (_Py_UNLOCKED,
 * _Py_LOCKED). The other values mean that threads wait. The lowest bit is set while the
 * mutex is locked. CPython: since 3.13.
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
    uint8_t _bits; /* only the functions of this header may write it */
} PyMutex;

#define _Py_UNLOCKED 0
#define _Py_LOCKED 1

/* The initial value of a PyMutex: free. CPython: since 3.15. */
/* clang-format off */
#define PyMutex_STATIC_INIT {_Py_UNLOCKED}
/* clang-format on */

/*
 * Locks a mutex. Blocks until the mutex is free. Signal handlers run during the wait, and
 * do not end it. CPython: since 3.13.
 */
PYTHREAD_API void PyMutex_Lock(PyMutex *m);

/*
 * Unlocks a mutex, which any thread may have locked, and wakes one waiter. Never blocks. If
 * the mutex is not locked, writes a line to stderr and aborts. CPython: since 3.13.
 */
PYTHREAD_API void PyMutex_Unlock(PyMutex *m);

/*
 * Tells whether any thread has locked a mutex at this moment. This is for assertions and
 * debugging. Never blocks.
 *
 *   1   it is locked
 *   0   it is free
 *
 * CPython: since 3.14.
 */
PYTHREAD_API int PyMutex_IsLocked(PyMutex *m);

/*
 * Locks a mutex, and waits for it no longer than a limit.
 *
 * m             the mutex
 * microseconds  0: tries once; more: waits so long on the monotonic clock, at
 *               most PY_TIMEOUT_MAX; negative: waits without limit
 * intr_flag     as in PyThread_acquire_lock_timed
 *
 *   PY_LOCK_ACQUIRED   locked, also if a signal came at the same time
 *   PY_LOCK_FAILURE    in use until the time was up
 *   PY_LOCK_INTR       intr_flag is set and a signal handler ran
 *
 * CPython: none.
 */
PYTHREAD_NODISCARD PYTHREAD_API PyLockStatus pythread_mutex_lock_timed(PyMutex *m,
                                                                       PY_TIMEOUT_T microseconds,
                                                                       int intr_flag);

#ifndef Py_CRITICAL_SECTION_H
#define Py_CRITICAL_SECTION_H

/* ------------------------------------------------------------------------
 * Critical sections
 * --------------------------------------------------------------------- */

/*
 * A critical section keeps a mutex locked from its beginning to its end, except while its
 * thread waits. What counts is a wait in this library for a mutex, a lock or the end of a
 * thread. Such a wait suspends all sections of the thread: it unlocks their mutexes. When
 * the wait is over, the thread locks the mutex of its newest section again. It locks the
 * mutex of an older section when the newer sections have ended. So threads never lock each
 * other out, in whatever order they nest their sections. But after a wait or an inner
 * section, what a section guards may have changed.
 *
 * The end of a wait blocks until the mutex of the newest section is free, even if the wait
 * itself had a limit. If C code in a section calls Go code and the Go code waits, the
 * section may stay locked during the wait.
 *
 * A section is in the frame of the function that begins it. The same thread must end it,
 * after all sections that began later. CPython: since 3.13.
 *
 * @code
 * #include <pylock.h>
 * #include <stdio.h>
 *
 * static PyMutex first, second;
 * static int count;
 *
 * static void add(PyMutex *outer, PyMutex *inner)
 * {
 *     for (int i = 0; i < 1000; i++) {
 *         Py_BEGIN_CRITICAL_SECTION_MUTEX(outer);
 *         Py_BEGIN_CRITICAL_SECTION2_MUTEX(outer, inner);
 *         count++;
 *         Py_END_CRITICAL_SECTION2();
 *         Py_END_CRITICAL_SECTION();
 *     }
 * }
 *
 * static void add_in_order(void *arg)
 * {
 *     (void)arg;
 *     add(&first, &second);
 * }
 *
 * int main(void)
 * {
 *     PyThread_ident_t ident;
 *     PyThread_handle_t thread;
 *     if (PyThread_start_joinable_thread(add_in_order, NULL, &ident, &thread) != 0) {
 *         return 1;
 *     }
 *     add(&second, &first);
 *     PyThread_join_thread(thread);
 *     printf("%d\n", count);
 *     return count == 2000 ? 0 : 1;
 * }
 * @endcode
 */
typedef struct PyCriticalSection {
    uintptr_t _cs_prev;
    PyMutex *_cs_mutex;
} PyCriticalSection;

/* A critical section with two mutexes. CPython: since 3.13. */
typedef struct PyCriticalSection2 {
    PyCriticalSection _cs_base;
    PyMutex *_cs_mutex2;
} PyCriticalSection2;

/*
 * Begins a critical section. Blocks until the mutex is free. If the newest section of the
 * thread has the mutex already, the new section and its end do nothing.
 *
 * c  the section, in the frame of the caller
 * m  the mutex
 *
 * CPython: since 3.14.
 */
PYTHREAD_API void PyCriticalSection_BeginMutex(PyCriticalSection *c, PyMutex *m);

/*
 * Ends a critical section. If the section before it was suspended, blocks until the mutex
 * of that section is free. CPython: since 3.13.
 */
PYTHREAD_API void PyCriticalSection_End(PyCriticalSection *c);

/*
 * Begins a critical section with two mutexes. Blocks until both are free. Their order does
 * not matter. The same mutex twice counts as one mutex. If the newest section of the thread
 * has both mutexes already, the new section and its end do nothing.
 *
 * c   the section, in the frame of the caller
 * m1  a mutex
 * m2  another mutex, or the same
 *
 * CPython: since 3.14.
 */
PYTHREAD_API void PyCriticalSection2_BeginMutex(PyCriticalSection2 *c, PyMutex *m1, PyMutex *m2);

/*
 * Ends a critical section with two mutexes, as PyCriticalSection_End does.
 * CPython: since 3.13.
 */
PYTHREAD_API void PyCriticalSection2_End(PyCriticalSection2 *c);

/*
 * Begins a block that is a critical section with a mutex. Py_END_CRITICAL_SECTION ends the
 * block. CPython's macro does nothing without Py_GIL_DISABLED. This macro always locks,
 * because there is no GIL. CPython: since 3.14.
 */
#define Py_BEGIN_CRITICAL_SECTION_MUTEX(mutex)                                                     \
    {                                                                                              \
        PyCriticalSection _py_cs;                                                                  \
        PyCriticalSection_BeginMutex(&_py_cs, mutex)

/* Ends the block of Py_BEGIN_CRITICAL_SECTION_MUTEX. CPython: since 3.13. */
#define Py_END_CRITICAL_SECTION()                                                                  \
    PyCriticalSection_End(&_py_cs);                                                                \
    }

/*
 * Begins a block that is a critical section with two mutexes. Py_END_CRITICAL_SECTION2 ends
 * the block. This macro always locks, as Py_BEGIN_CRITICAL_SECTION_MUTEX does. CPython:
 * since 3.14.
 */
#define Py_BEGIN_CRITICAL_SECTION2_MUTEX(m1, m2)                                                   \
    {                                                                                              \
        PyCriticalSection2 _py_cs2;                                                                \
        PyCriticalSection2_BeginMutex(&_py_cs2, m1, m2)

/* Ends the block of Py_BEGIN_CRITICAL_SECTION2_MUTEX. CPython: since 3.13. */
#define Py_END_CRITICAL_SECTION2()                                                                 \
    PyCriticalSection2_End(&_py_cs2);                                                              \
    }

/*
 * Begins a critical section of a Python object. It is a function of the Python in the
 * process, and this library has none. With a GIL it does nothing.
 *
 * c       the section, in the frame of the caller
 * object  the object
 *
 * CPython: since 3.13.
 */
extern void PyCriticalSection_Begin(PyCriticalSection *c, struct _object *object);

/*
 * Begins a critical section of two Python objects, as PyCriticalSection_Begin does.
 *
 * c  the section, in the frame of the caller
 * a  an object
 * b  another object, or the same
 *
 * CPython: since 3.13.
 */
extern void PyCriticalSection2_Begin(PyCriticalSection2 *c, struct _object *a, struct _object *b);

/*
 * Begins a block that is a critical section of a Python object. Py_END_CRITICAL_SECTION ends
 * it. It needs Python.h, which uses it too, and may come after this header.
 * CPython: since 3.13.
 */
#define Py_BEGIN_CRITICAL_SECTION(object)                                                          \
    {                                                                                              \
        PyCriticalSection _py_cs = {0, NULL};                                                      \
        PyCriticalSection_Begin(&_py_cs, _PyObject_CAST(object))

/*
 * Begins a block that is a critical section of two Python objects.
 * Py_END_CRITICAL_SECTION2 ends it. It needs Python.h, as Py_BEGIN_CRITICAL_SECTION does.
 * CPython: since 3.13.
 */
#define Py_BEGIN_CRITICAL_SECTION2(a, b)                                                           \
    {                                                                                              \
        PyCriticalSection2 _py_cs2 = {{0, NULL}, NULL};                                            \
        PyCriticalSection2_Begin(&_py_cs2, _PyObject_CAST(a), _PyObject_CAST(b))

#endif /* Py_CRITICAL_SECTION_H */

#ifdef __GNUC__

/* The next two functions acquire and release. So what a holder did happens before what the next
   holder does. */
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

/* As in CPython, code that includes this header calls the inline functions. The functions of the
   library remain for other callers, such as those that use dlsym. */
#define PyMutex_Lock _PyMutex_Lock
#define PyMutex_Unlock _PyMutex_Unlock
#define PyMutex_IsLocked _PyMutex_IsLocked

#endif /* __GNUC__ */

#ifdef __cplusplus
}
#endif

#endif /* Py_LOCK_H */
