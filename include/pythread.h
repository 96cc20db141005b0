/*
 * pythread.h - CPython's thread layer (Include/pythread.h, Python/thread.c),
 * rebuilt on goroutines: link with libpythread.so, no Python needed.
 *
 * The names, types and contracts are those of CPython 3.11 to 3.14. Names that
 * CPython does not have begin with lower-case `pythread_`, and are declared in
 * the last section. The include guard is CPython's: of this header and
 * Python.h, the one that comes first is used.
 *
 * A thread is a goroutine on an OS thread of the Go runtime, or on a pthread of
 * its own (pythread_set_reuse). In a C program on Linux, Go starts with the
 * first thread; no other function here makes an OS thread. Go leaves the
 * program's signals, handlers and signal stacks alone: a handler needs no
 * SA_ONSTACK, and the program may keep any signal for sigwait or signalfd.
 * In a Go program Go's rules for signals hold; the Go documentation of the
 * package capi has them.
 *
 * Every function may be called from any thread at any time, before or without
 * PyThread_init_thread, and in the child of a fork. No function may be called
 * in a signal handler. Where a function differs, its comment says so. No
 * function sets errno: a return value alone reports a failure.
 */
/* Both headers need these macros, pylock.h also where Python.h came first. */
#ifndef PYTHREAD_API

/* On Windows the library's own build defines PYTHREAD_BUILD, and a program that links the static
   library defines PYTHREAD_STATIC. All others use the DLL. */
#if defined(_WIN32) && defined(PYTHREAD_BUILD)
#define PYTHREAD_API __declspec(dllexport)
#elif defined(_WIN32) && !defined(PYTHREAD_STATIC)
#define PYTHREAD_API __declspec(dllimport)
#elif !defined(_WIN32) && defined(__GNUC__)
#define PYTHREAD_API __attribute__((visibility("default")))
#else
#define PYTHREAD_API
#endif

#if defined(__GNUC__)
#define PYTHREAD_NORETURN __attribute__((noreturn))
#define PYTHREAD_NODISCARD __attribute__((warn_unused_result))
#define PYTHREAD_DEPRECATED(instead) __attribute__((deprecated("use " instead)))
#else
#define PYTHREAD_NORETURN
#define PYTHREAD_NODISCARD
#define PYTHREAD_DEPRECATED(instead)
#endif

#endif /* PYTHREAD_API */

#ifndef Py_PYTHREAD_H
#define Py_PYTHREAD_H

#ifndef _WIN32
#include <pthread.h>
#endif
#include <stddef.h>
#include <stdint.h>

/* The version of this library. The build reads these three lines. */
#define PYTHREAD_VERSION_MAJOR 0
#define PYTHREAD_VERSION_MINOR 1
#define PYTHREAD_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/* A Python object: CPython's PyObject is a typedef of this struct. */
struct _object;

/* ------------------------------------------------------------------------
 * Threads
 * --------------------------------------------------------------------- */

/*
 * The ident of a thread. A thread that this library starts gets a number
 * from a counter, which begins with 1. The process never uses an ident
 * again. The ident of any other thread (main, a plain pthread) is its
 * pthread_self(), as in CPython; on Windows it is the complement of its
 * GetCurrentThreadId(). The two ranges do not overlap.
 * CPython: since 3.13 (before that, unsigned long).
 */
typedef unsigned long long PyThread_ident_t;

/* The conversion of printf for an ident, without its percent sign. CPython: since 3.13. */
#define PY_FORMAT_THREAD_IDENT_T "llu"
/* The letter for an ident in the format strings of PyArg_ParseTuple. CPython: since 3.13. */
#define Py_PARSE_THREAD_IDENT_T "K"

/* No thread has this ident. CPython: since 3.7. */
#define PYTHREAD_INVALID_THREAD_ID ((unsigned long)-1)

/*
 * The right to join or detach one thread, from PyThread_start_joinable_thread:
 * an opaque number, never 0, never used again. The first join or detach that
 * succeeds uses up the handle, with all its copies. A handle that is used up,
 * and a number that never was a handle, get an error at once.
 * CPython: since 3.13.
 *
 * @code
 * #include <pythread.h>
 * #include <stdio.h>
 *
 * static void work(void *arg)
 * {
 *     *(int *)arg = 42;
 * }
 *
 * int main(void)
 * {
 *     int answer = 0;
 *     PyThread_ident_t ident;
 *     PyThread_handle_t handle;
 *     if (PyThread_start_joinable_thread(work, &answer, &ident, &handle) != 0) {
 *         return 1;
 *     }
 *     PyThread_join_thread(handle);
 *     printf("thread %llu says %d\n", ident, answer);
 *     return answer == 42 ? 0 : 1;
 * }
 * @endcode
 */
typedef uintptr_t PyThread_handle_t;

/*
 * Prepares the library where that is necessary. In a C program on Linux it does
 * nothing, because the first start prepares the library. On Windows the Go
 * runtime starts when the library is loaded, and this function waits until Go
 * runs. CPython: all versions.
 */
PYTHREAD_API void PyThread_init_thread(void);

/*
 * Starts a detached thread that runs func(arg). The thread may run, and even
 * end, before this function returns. The thread has its creator's signal mask,
 * floating-point modes and name, errno 0, the global locale, and no values in
 * thread-specific storage. It has no signal stack; in a Go program it has its
 * OS thread's. Earlier threads may have used the OS thread
 * (pythread_set_reuse). The first start of a process waits until Go runs, some
 * milliseconds. After a start that failed for lack of OS threads, the next one
 * tries again.
 *
 * func  the function to run; the thread ends when it returns, or by
 *       PyThread_exit_thread
 * arg   the argument of func
 *
 *   the thread's ident            the thread will run, runs, or has ended
 *   PYTHREAD_INVALID_THREAD_ID    func is NULL, or no thread or memory is left
 *
 * CPython: all versions.
 */
PYTHREAD_API unsigned long PyThread_start_new_thread(void (*func)(void *), void *arg);

/*
 * Starts a joinable thread that runs func(arg), as PyThread_start_new_thread
 * does. The caller owns the handle and uses it for one PyThread_join_thread or
 * PyThread_detach_thread. Until then the library keeps about 250 bytes for the
 * thread. The thread may run before *ident and *handle are set.
 *
 * func    the function to run
 * arg     the argument of func
 * ident   receives the thread's ident
 * handle  receives the thread's handle
 *
 *    0   started
 *   -1   func, ident or handle is NULL, or no thread or memory is left;
 *        *ident and *handle are unchanged
 *
 * CPython: since 3.13 (internal there).
 */
PYTHREAD_NODISCARD PYTHREAD_API int PyThread_start_joinable_thread(void (*func)(void *), void *arg,
                                                                   PyThread_ident_t *ident,
                                                                   PyThread_handle_t *handle);

/*
 * Waits until the thread has ended, and uses up its handle. Everything that the
 * thread did happens before the return. Blocks without limit; signal handlers
 * run meanwhile and do not end the wait. Several threads may join one handle at
 * once: each call that comes while the handle is valid waits and gets 0.
 *
 *   0         the thread has ended
 *   EINVAL    the handle was joined or detached before
 *   EDEADLK   the handle is the caller's own; or the thread waits to join the
 *             caller, directly or through other threads
 *   ESRCH     this was never a handle of this process; in the child of a fork,
 *             also a handle of a thread that only the parent has
 *
 * CPython: since 3.13 (internal there).
 */
PYTHREAD_API int PyThread_join_thread(PyThread_handle_t handle);

/*
 * Gives up the right to join: nothing remains of the thread once it has ended.
 * Never blocks. A thread may detach itself. Joins that already wait keep
 * waiting, and get 0.
 *
 *   0         detached
 *   EINVAL    the handle was joined or detached before
 *   ESRCH     this was never a handle of this process; in the child of a fork,
 *             also a handle of a thread that only the parent has
 *
 * CPython: since 3.13 (internal there).
 */
PYTHREAD_API int PyThread_detach_thread(PyThread_handle_t handle);

/*
 * The ident of the calling thread (PyThread_ident_t): in a thread of this
 * library the value that its start gave, in any other its pthread_self().
 * Never 0. Never blocks; reads a thread-local variable. CPython: all versions.
 */
PYTHREAD_API unsigned long PyThread_get_thread_ident(void);

/* PyThread_get_thread_ident with 64 bits on every system. CPython: since 3.13. */
PYTHREAD_API PyThread_ident_t PyThread_get_thread_ident_ex(void);

#if defined(__linux__) || defined(_WIN32) || defined(__APPLE__) || defined(__FreeBSD__) ||         \
    defined(__OpenBSD__) || defined(__NetBSD__) || defined(__DragonFly__) || defined(_AIX)
/* Defined where the system numbers its OS threads. CPython: since 3.8. */
#define PY_HAVE_THREAD_NATIVE_ID
/*
 * The kernel's number of the OS thread that the caller runs on: gettid() on
 * Linux, GetCurrentThreadId() on Windows. Never blocks. Threads that run one
 * after the other may have the same number. CPython: since 3.8, where the
 * system has such numbers.
 */
PYTHREAD_API unsigned long PyThread_get_thread_native_id(void);
#endif

/*
 * Ends the calling thread, from any depth of calls. It is pthread_exit(NULL):
 * cleanup handlers run, and C++ frames unwind. On Windows it leaves C frames as
 * longjmp does, and is the only way to end a thread from inside a call.
 * If main calls it, the process ends with status 0 when its last thread has
 * ended; on Windows the process goes on, because the Go runtime does.
 * In a Go program it must not be called below a Go function.
 * CPython: all versions, deprecated since 3.14.
 */
PYTHREAD_NORETURN PYTHREAD_API void PyThread_exit_thread(void);

/*
 * Stops the calling thread for ever. Signal handlers still run on it.
 * CPython: since 3.14 (internal there).
 */
PYTHREAD_NORETURN PYTHREAD_API void PyThread_hang_thread(void);

/*
 * The stack size of new threads in bytes. It is always 0, which means the
 * system's default. Never blocks. CPython: all versions.
 */
PYTHREAD_API size_t PyThread_get_stacksize(void);

/*
 * Asks for another stack size, in bytes, for new threads. It is always refused
 * with -2, which means not supported. Never blocks. CPython: all versions.
 */
PYTHREAD_API int PyThread_set_stacksize(size_t size);

/* ------------------------------------------------------------------------
 * Locks
 * --------------------------------------------------------------------- */

/*
 * A lock: a binary semaphore. Any thread may release it, not only the one that
 * acquired it. It is not recursive: a second acquire by the holder waits like
 * any other. Waiters sleep in the kernel, and get the lock in any order. What a
 * thread did before a release happens before what the next holder does. To
 * acquire or release a lock for which no thread waits takes no system call.
 * CPython: all versions.
 *
 * @code
 * #include <pythread.h>
 * #include <stdio.h>
 *
 * static PyThread_type_lock lock;
 * static int count;
 *
 * static void add(void *arg)
 * {
 *     (void)arg;
 *     for (int i = 0; i < 1000; i++) {
 *         PyThread_acquire_lock(lock, WAIT_LOCK);
 *         count++;
 *         PyThread_release_lock(lock);
 *     }
 * }
 *
 * int main(void)
 * {
 *     PyThread_ident_t ident;
 *     PyThread_handle_t a, b;
 *     lock = PyThread_allocate_lock();
 *     if (lock == NULL || PyThread_start_joinable_thread(add, NULL, &ident, &a) != 0 ||
 *         PyThread_start_joinable_thread(add, NULL, &ident, &b) != 0) {
 *         return 1;
 *     }
 *     PyThread_join_thread(a);
 *     PyThread_join_thread(b);
 *     PyThread_free_lock(lock);
 *     printf("%d\n", count);
 *     return count == 2000 ? 0 : 1;
 * }
 * @endcode
 */
typedef void *PyThread_type_lock;

/* How a timed acquire ended. CPython: since 3.2. */
typedef enum PyLockStatus {
    PY_LOCK_FAILURE = 0,  /* not acquired: in use until the time was up */
    PY_LOCK_ACQUIRED = 1, /* acquired */
    PY_LOCK_INTR = 2      /* not acquired: a signal handler ran */
} PyLockStatus;

/* Makes PyThread_acquire_lock wait until it has the lock. CPython: all versions. */
#define WAIT_LOCK 1
/* Makes PyThread_acquire_lock try once, without a wait. CPython: all versions. */
#define NOWAIT_LOCK 0

/* A timeout in microseconds (PyThread_acquire_lock_timed). CPython: since 3.2. */
#define PY_TIMEOUT_T long long

/*
 * The longest timeout, in microseconds: LLONG_MAX / 1000, which fits a long long
 * in nanoseconds. CPython: since 3.2, until 3.12 as a macro.
 */
PYTHREAD_API extern const long long PY_TIMEOUT_MAX;

/*
 * Makes a new, free lock. The caller owns it and frees it with
 * PyThread_free_lock. Never blocks. Returns NULL when no memory is left.
 * CPython: all versions.
 */
PYTHREAD_NODISCARD PYTHREAD_API PyThread_type_lock PyThread_allocate_lock(void);

/*
 * Frees a lock, held or not. Does nothing with NULL. If a thread still waits for
 * the lock, or uses it later, the behaviour is undefined. Never blocks.
 * CPython: all versions.
 */
PYTHREAD_API void PyThread_free_lock(PyThread_type_lock lock);

/*
 * Acquires a lock. Signal handlers run during the wait and do not end it.
 *
 * wait  WAIT_LOCK, or any value but 0: waits until the caller has the lock;
 *       NOWAIT_LOCK: tries once
 *
 *   1   acquired
 *   0   in use (NOWAIT_LOCK), or lock is NULL
 *
 * CPython: all versions.
 */
PYTHREAD_API int PyThread_acquire_lock(PyThread_type_lock lock, int wait);

/*
 * Acquires a lock within a time.
 *
 * microseconds  0: tries once; more: waits so long on the monotonic clock, at
 *               most PY_TIMEOUT_MAX; negative: waits without limit
 * intr_flag     0: signal handlers run and do not end the wait; else a handler
 *               that ran ends the wait. Exceptions: a wait without limit is
 *               not ended by a handler that has SA_RESTART, and on other
 *               systems than Linux no handler ends a wait.
 *
 *   PY_LOCK_ACQUIRED   acquired, also if a signal came at the same time
 *   PY_LOCK_FAILURE    in use until the time was up, or lock is NULL
 *   PY_LOCK_INTR       intr_flag is set and a signal handler ran
 *
 * CPython: since 3.2.
 */
PYTHREAD_API PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock,
                                                      PY_TIMEOUT_T microseconds, int intr_flag);

/*
 * Acquires a lock within a time, and makes Python's pending calls (signal
 * handlers written in Python) while it waits. If the process has a running
 * Python, the caller holds the GIL, and the wait releases the GIL. Without a
 * running Python, and on Windows, the wait just goes on after a signal.
 *
 * nanoseconds  0: tries once; more: waits so long; negative: waits without
 *              limit. The unit is nanoseconds, as in CPython's code.
 *
 *   PY_LOCK_ACQUIRED   acquired
 *   PY_LOCK_FAILURE    in use until the time was up, or lock is NULL
 *   PY_LOCK_INTR       a pending call failed; its exception is set
 *
 * CPython: since 3.13 (internal there).
 */
PYTHREAD_API PyLockStatus PyThread_acquire_lock_timed_with_retries(PyThread_type_lock lock,
                                                                   PY_TIMEOUT_T nanoseconds);

/*
 * Releases a lock, which any thread may have acquired, and wakes one waiter.
 * Never blocks. To release a free lock or NULL is a mistake of the program: it
 * changes nothing, and writes a line to stderr. CPython: all versions.
 */
PYTHREAD_API void PyThread_release_lock(PyThread_type_lock lock);

/*
 * Puts a new, free lock in *lock, for the child of a fork: a thread that only
 * the parent has may hold the old one for ever. The memory of the old lock is
 * not freed, since the parent's waiters may have left it in any state. Never
 * blocks.
 *
 *    0   *lock is free
 *   -1   lock is NULL or no memory is left; *lock is unchanged
 *
 * CPython: 3.9 to 3.12 (later internal there).
 */
PYTHREAD_API int _PyThread_at_fork_reinit(PyThread_type_lock *lock);

/* ------------------------------------------------------------------------
 * Thread-specific storage
 * --------------------------------------------------------------------- */

/*
 * A key, under which every thread keeps a pointer of its own, NULL at first.
 * The layout is CPython's, so that a key may be static. Only the library uses
 * the fields. When a thread ends, its values are forgotten; no destructor is
 * called, and nothing is freed. At least 100,000 keys can exist at once.
 * CPython: since 3.7 (PEP 539).
 *
 * @code
 * #include <pythread.h>
 * #include <stdio.h>
 *
 * static Py_tss_t name = Py_tss_NEEDS_INIT;
 *
 * static void run(void *arg)
 * {
 *     if (PyThread_tss_get(&name) == NULL) {
 *         PyThread_tss_set(&name, arg);
 *     }
 *     printf("in the thread: %s\n", (char *)PyThread_tss_get(&name));
 * }
 *
 * int main(void)
 * {
 *     PyThread_ident_t ident;
 *     PyThread_handle_t handle;
 *     if (PyThread_tss_create(&name) != 0 || PyThread_tss_set(&name, (void *)"main") != 0 ||
 *         PyThread_start_joinable_thread(run, (void *)"worker", &ident, &handle) != 0) {
 *         return 1;
 *     }
 *     PyThread_join_thread(handle);
 *     printf("in main: %s\n", (char *)PyThread_tss_get(&name));
 *     PyThread_tss_delete(&name);
 *     return 0;
 * }
 * @endcode
 */
typedef struct _Py_tss_t {
    int _is_initialized;
#ifdef _WIN32
    unsigned long _key;
#else
    pthread_key_t _key;
#endif
} Py_tss_t;

/* The initial value of a key that is not created. CPython: since 3.7. */
/* clang-format off */
#define Py_tss_NEEDS_INIT {0, 0}
/* clang-format on */

/*
 * Allocates a key, and does not create it. The caller owns it and frees it with
 * PyThread_tss_free. Never blocks. Returns NULL when no memory is left.
 * CPython: since 3.7.
 */
PYTHREAD_NODISCARD PYTHREAD_API Py_tss_t *PyThread_tss_alloc(void);

/*
 * Deletes and frees a key of PyThread_tss_alloc. Does nothing with NULL. No
 * thread may use the key any more. CPython: since 3.7.
 */
PYTHREAD_API void PyThread_tss_free(Py_tss_t *key);

/*
 * Tells whether a key is created. Never blocks.
 *
 *   not 0   the key is created
 *   0       the key is not created, or is NULL
 *
 * CPython: since 3.7.
 */
PYTHREAD_API int PyThread_tss_is_created(Py_tss_t *key);

/*
 * Creates a key. Its value is NULL in every thread, also if the key was created
 * and deleted before. Does nothing with a key that is created. Several threads
 * may create the same key at once: it is created once.
 *
 *    0   created
 *   -1   key is NULL, or no memory or number for it is left
 *
 * CPython: since 3.7.
 */
PYTHREAD_API int PyThread_tss_create(Py_tss_t *key);

/*
 * Deletes a key: every thread's value is forgotten. The memory that a value
 * points to is not freed. Does nothing with a key that is not created, or NULL.
 * No thread may use the key at the same time. CPython: since 3.7.
 */
PYTHREAD_API void PyThread_tss_delete(Py_tss_t *key);

/*
 * Sets the calling thread's value. The library never uses what it points to.
 *
 *    0   set
 *   -1   the key is not created, or is NULL, or no memory is left; the value
 *        is unchanged
 *
 * CPython: since 3.7.
 */
PYTHREAD_API int PyThread_tss_set(Py_tss_t *key, void *value);

/*
 * The calling thread's value. It is NULL if the thread has none, and if the key
 * is not created or is NULL. Never blocks; preserves errno. CPython: since 3.7.
 */
PYTHREAD_API void *PyThread_tss_get(Py_tss_t *key);

/* Before PEP 539, keys were plain numbers. */

/*
 * Makes a key of the kind before PEP 539: a number from 0 on. Returns -1 when no
 * memory or number is left. CPython: all versions, deprecated since 3.7.
 */
PYTHREAD_DEPRECATED("PyThread_tss_create") PYTHREAD_API int PyThread_create_key(void);

/*
 * Deletes a key: every thread's value is forgotten. Does nothing with a number
 * that is not a key. CPython: all versions, deprecated since 3.7.
 */
PYTHREAD_DEPRECATED("PyThread_tss_delete") PYTHREAD_API void PyThread_delete_key(int key);

/*
 * Sets the calling thread's value, in place of an older one.
 *
 *    0   set
 *   -1   the number is not a key, or no memory is left; the value is unchanged
 *
 * CPython: all versions, deprecated since 3.7.
 */
PYTHREAD_DEPRECATED("PyThread_tss_set")
PYTHREAD_API int PyThread_set_key_value(int key, void *value);

/*
 * The calling thread's value. It is NULL if the thread has none, and if the
 * number is not a key. Never blocks; preserves errno. CPython: all versions,
 * deprecated since 3.7.
 */
PYTHREAD_DEPRECATED("PyThread_tss_get") PYTHREAD_API void *PyThread_get_key_value(int key);

/*
 * Forgets the calling thread's value. CPython: all versions, deprecated since
 * 3.7.
 */
PYTHREAD_DEPRECATED("PyThread_tss_set") PYTHREAD_API void PyThread_delete_key_value(int key);

/*
 * Does nothing: the child of a fork keeps its values. CPython: all versions,
 * deprecated since 3.7.
 */
PYTHREAD_DEPRECATED("nothing") PYTHREAD_API void PyThread_ReInitTLS(void);

/* ------------------------------------------------------------------------
 * Python objects
 * --------------------------------------------------------------------- */

/*
 * Makes sys.thread_info: a new reference to a named tuple of name, lock and
 * version. The caller holds the GIL. Returns NULL with an exception set when it
 * fails. Returns NULL without an exception if the process has no running
 * Python, and on Windows. CPython: since 3.3.
 */
PYTHREAD_NODISCARD PYTHREAD_API struct _object *PyThread_GetInfo(void);

/* No timeout, as PyThread_ParseTimeoutArg gives it: -1 s in nanoseconds. CPython: since 3.13. */
#define PyThread_UNSET_TIMEOUT (-1000000000LL)

/*
 * Reads the timeout argument of a lock method of Python: a number of seconds,
 * rounded away from zero to nanoseconds. The caller holds the GIL.
 *
 * arg          the argument; NULL and None mean no timeout
 * blocking     whether the method may block
 * nanoseconds  receives the result. Without a timeout it is
 *              PyThread_UNSET_TIMEOUT if the method may block, else 0.
 *
 *    0   *nanoseconds is set
 *   -1   *nanoseconds is unchanged, and an exception is set. ValueError: a
 *        timeout for a method that may not block, a negative one, or NaN.
 *        OverflowError: more than PY_TIMEOUT_MAX microseconds. TypeError: no
 *        number. No exception is set if nanoseconds is NULL, if the process
 *        has no running Python, and on Windows.
 *
 * CPython: since 3.13 (internal there).
 */
PYTHREAD_API int PyThread_ParseTimeoutArg(struct _object *arg, int blocking,
                                          PY_TIMEOUT_T *nanoseconds);

/* ------------------------------------------------------------------------
 * What CPython does not have
 * --------------------------------------------------------------------- */

/*
 * The version of the library in use, "MAJOR.MINOR.PATCH": a static string. The
 * macros have the version that the program was compiled with.
 */
PYTHREAD_API const char *pythread_version(void);

/*
 * Names the calling thread, for top, gdb, perf and pythread_dump. The OS thread
 * gets the name on Linux, macOS, the BSDs and Windows 10. The next thread on
 * the OS thread does not have the name, except in the mode
 * PYTHREAD_REUSE_ALWAYS. In a Go program, a goroutine that calls C code by
 * capi.Do gets the name, and its OS thread does not. Never blocks.
 *
 * name  UTF-8, copied. A name longer than 15 bytes is cut at a character
 *       boundary, as Linux keeps 15 bytes. "" removes the name.
 *
 *   0        named
 *   EINVAL   name is NULL
 *
 * CPython: since 3.14 as _thread.set_name, which names only the OS thread.
 */
PYTHREAD_API int pythread_set_name(const char *name);

/* Which OS threads run the threads (pythread_set_reuse). */
typedef enum pythread_reuse {
    PYTHREAD_REUSE_CLEAN = 0, /* used ones, as long as a thread cannot tell that they were used */
    PYTHREAD_REUSE_NEVER = 1, /* a new one for each thread, which ends with the thread */
    PYTHREAD_REUSE_ALWAYS = 2 /* used ones, with what earlier threads left there */
} pythread_reuse;

/*
 * Sets which OS threads run the threads that are started from now on. This table
 * shows what a thread finds on its OS thread. "New" is what pthread_create would
 * give it, "old" is what earlier threads have left.
 *
 * @code{.txt}
 * What a thread finds                              CLEAN   NEVER   ALWAYS
 * PyThread_tss values, errno, locale               new     new     new
 * signal mask, signal stack                        new     new     new
 * floating-point modes, cancellation               new     new     new
 * thread-local variables, pthread keys             new     new     old
 * C++ thread_local objects                         new     new     old
 * name, affinity, nice value, policy               new     new     old
 * seccomp filter, credentials, namespaces          old     new     old
 * I/O priority, memory policy, values of prctl     old     new     old
 * processor time, resource usage                   old     new     old
 * robust mutexes that were left locked             old     new     old
 * variables of the C library and of malloc         old     new     old
 * memory that thread-local variables point to      old     new     old
 * what goroutines that call C code have left       old     new     old
 *
 * What holds at the end                            CLEAN   NEVER   ALWAYS
 * destructors have run when the join returns       yes     yes     no
 * @endcode
 *
 * PYTHREAD_REUSE_CLEAN is the default on Linux with glibc, on amd64 and arm64,
 * unless the program is linked with -static. An OS thread on which a thread left
 * something in a "new" row ends with that thread.
 *
 * PYTHREAD_REUSE_NEVER is the default elsewhere. Use it in a program whose
 * threads change or read what is "old" in CLEAN.
 *
 * PYTHREAD_REUSE_ALWAYS is the fastest. An OS thread begins with the affinity,
 * nice value and policy that the process had at load, if the mode CLEAN exists.
 *
 * The environment variable PYTHREAD_REUSE sets the mode when the library is
 * loaded: "clean", "never" or "always". Never blocks.
 *
 *   the mode that was set before    set
 *   -1                              there is no such mode, or not in this program
 */
PYTHREAD_API int pythread_set_reuse(int mode);

/*
 * The mode of pythread_set_reuse that is set: by a call of it, by the environment
 * or by default. Never blocks.
 */
PYTHREAD_API int pythread_get_reuse(void);

/*
 * Writes what each thread does, for a program that hangs. Each thread of this
 * library that runs has a line. Any other thread has one while it waits for a
 * lock or thread of this library. A line has the ident, the name, the
 * number of the OS thread and the age of the thread. It says whether the thread
 * waits: for which lock or thread, how long, and which thread acquired the lock.
 * Then a line "deadlock: ..." names the threads that wait for each other in a
 * ring. A change during the call may be missing.
 *
 * Names and holders of locks are known on Linux only. Times are exact to some
 * milliseconds. If another thread released a lock than the one that acquired
 * it, a ring that the dump shows may not be a deadlock.
 *
 * If the environment has PYTHREAD_DUMP_SIGNAL=USR2 (or USR1, HUP, QUIT) when the
 * library is loaded, that signal writes a dump to stderr. A handler that the
 * program sets for the signal replaces this one.
 *
 * May be called in a signal handler: it takes no lock, and blocks only in the
 * write.
 *
 * fd  a file descriptor that is open for writing, such as 2
 *
 *   0               written
 *   EBUSY           another call is under way: nothing was written
 *   other errors    the errno of the write that failed, such as EBADF
 *
 * CPython: none; faulthandler shows stacks of Python code, and no locks.
 */
PYTHREAD_API int pythread_dump(int fd);

/*
 * Begins to write a trace of what the threads do, for Perfetto
 * (https://ui.perfetto.dev) and chrome://tracing. A trace has a track for each
 * OS thread. On it are bars for each start, thread, join and wait for a lock,
 * and arrows from a start to its thread. An event is written when it is over.
 *
 * A trace that is already under way is ended: the events that are still open
 * are written, and the file is closed. The exit of the process also ends a
 * trace. After _exit or a crash the file lacks the last 4 KiB of each OS thread.
 * The child of a fork does not write to its parent's trace.
 *
 * With PYTHREAD_TRACE=FILE in the environment, a trace begins when the library
 * is loaded. A program that the process executes begins the file anew.
 *
 * Blocks in writes to the file.
 *
 * path  the file, which is created or emptied; NULL: no new trace
 *
 *   0               done
 *   EBUSY           another call is under way: nothing was done
 *   other errors    the errno of what failed: there is no new trace, and the
 *                   old one has ended
 *
 * CPython: none.
 */
PYTHREAD_API int pythread_trace(const char *path);

/* What the library holds (pythread_get_stats). Later versions may add fields at the end. */
typedef struct pythread_stats {
    size_t threads;    /* threads of this library that have not ended */
    size_t handles;    /* handles that were neither joined nor detached */
    size_t os_threads; /* OS threads that Go has used, also idle ones; 0 before Go starts */
    size_t goroutines; /* goroutines that run threads, or soon will */
} pythread_stats;

/*
 * Counts what the library holds, for monitoring and leak tests. Each number is
 * right at some moment during the call, not all at the same one. Never blocks.
 *
 * stats  receives the numbers
 * size   the caller's sizeof(pythread_stats): so many bytes are written. A field
 *        that the library does not have gets 0.
 *
 *   0        counted
 *   EINVAL   stats is NULL
 */
PYTHREAD_API int pythread_get_stats(pythread_stats *stats, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* Py_PYTHREAD_H */
