/*
 * pythread.h - CPython's thread layer (Include/pythread.h, Python/thread.c),
 * rebuilt on goroutines: link with libpythread.so, no Python needed.
 *
 * The names, types and contracts are those of CPython 3.11 to 3.14; names
 * that CPython does not have begin with lower-case `pythread_` and stand in a
 * section of their own at the end. The include guard is CPython's, so that
 * this header steps aside where Python.h came first, and the other way round.
 *
 * In a C program on Linux, Go sleeps until the first thread starts: no other
 * function here makes an OS thread. Go opens files for a moment while it starts.
 * Go leaves the program's signals, handlers and signal stacks alone. So a handler
 * needs no SA_ONSTACK, and any signal may be kept for sigwait or signalfd. Nor
 * does Go read the variables of the environment that are meant for Go, GOGC say.
 * Where the system refuses memory to Go, Go ends the process. In a Go program Go's
 * rules for signals hold, which the package capi tells.
 *
 * A child that is forked before the first thread starts a Go of its own with its
 * own first thread. In a child that is forked later, threads are plain pthreads.
 *
 * Unless a comment says otherwise, every function may be called from any
 * thread at any time, before or without PyThread_init_thread, in a signal
 * handler never, and in the child of a fork. None of them sets errno; a
 * function that fails says so by its return value alone.
 */
#ifndef Py_PYTHREAD_H
#define Py_PYTHREAD_H

#ifndef _WIN32
#include <pthread.h>
#endif
#include <stddef.h>
#include <stdint.h>

/* The version of this library: the build takes it from these three lines. */
#define PYTHREAD_VERSION_MAJOR 0
#define PYTHREAD_VERSION_MINOR 1
#define PYTHREAD_VERSION_PATCH 0

/* On Windows the library's own build defines PYTHREAD_BUILD, and a program that links the static
   library PYTHREAD_STATIC; all others use the DLL. */
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

#ifdef __cplusplus
extern "C" {
#endif

/* A Python object: CPython's PyObject is a typedef of this struct. */
struct _object;

/* ------------------------------------------------------------------------
 * Threads
 * --------------------------------------------------------------------- */

/*
 * The ident of a thread. A thread started here gets the next number of one
 * counter, 1 first, never reused while the process lives. Any other thread
 * (main, a plain pthread) answers its pthread_self(), as in CPython; on Windows
 * the complement of its GetCurrentThreadId(), which is a small number. The two
 * ranges cannot meet. CPython: since 3.13 (before that, unsigned long).
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
 * an opaque number, never 0, never reused. It is spent by the join or detach
 * that succeeds first; a spent handle, and a number that never was one, get an
 * error at once. Copying it copies no right. CPython: since 3.13.
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
 * Does nothing in a C program on Linux: the first start prepares the library. On
 * Windows the Go runtime starts when the library is loaded, and this waits until
 * Go is up. CPython: all versions.
 */
PYTHREAD_API void PyThread_init_thread(void);

/*
 * Starts a detached thread that runs func(arg). Does not wait for it to run;
 * it may run, and end, before this returns. It begins with the caller's signal
 * mask, floating-point modes and name, errno 0, empty thread-specific storage
 * and the global locale. It has no signal stack, but in a Go program that of its
 * OS thread. Other threads may have used this OS thread before:
 * pythread_set_reuse tells what that means. The first start of a process waits
 * until Go has started. A start that fails for lack of OS threads may be tried
 * again.
 *
 * func  what to run; it ends by return, or by PyThread_exit_thread
 * arg   handed to func as it is; the library does not look at it
 *
 *   the thread's ident            it will run, or is running, or has ended
 *   PYTHREAD_INVALID_THREAD_ID    func is NULL, or no thread or memory is left
 *
 * CPython: all versions.
 */
PYTHREAD_API unsigned long PyThread_start_new_thread(void (*func)(void *), void *arg);

/*
 * Starts a joinable thread that runs func(arg), as PyThread_start_new_thread
 * does. The caller owns the handle and spends it on one PyThread_join_thread
 * or PyThread_detach_thread; until then the library keeps some 250 bytes for
 * it. The thread may run before *ident and *handle are set.
 *
 * func    what to run
 * arg     handed to func as it is
 * ident   where the thread's ident goes
 * handle  where its handle goes
 *
 *    0   started
 *   -1   func, ident or handle is NULL, or no thread or memory is left;
 *        *ident and *handle are untouched
 *
 * CPython: since 3.13 (internal there).
 */
PYTHREAD_NODISCARD PYTHREAD_API int PyThread_start_joinable_thread(void (*func)(void *), void *arg,
                                                                   PyThread_ident_t *ident,
                                                                   PyThread_handle_t *handle);

/*
 * Waits until the thread has ended and spends its handle. All that the thread
 * did happens before the return. Blocks without limit; signal handlers run
 * meanwhile and do not end the wait. Several threads may join one handle at
 * once: each that came before it was spent waits for the end and gets 0.
 *
 *   0         the thread has ended
 *   EINVAL    the handle is spent: joined or detached before
 *   EDEADLK   the handle is the caller's own, or the thread is waiting,
 *             perhaps through others, to join the caller
 *   ESRCH     never a handle of this process; in the child of a fork, a
 *             thread that only the parent has
 *
 * CPython: since 3.13 (internal there).
 */
PYTHREAD_API int PyThread_join_thread(PyThread_handle_t handle);

/*
 * Gives up the right to join: nothing of the thread remains once it has
 * ended. Never blocks. A thread may detach itself; joins that already wait
 * are still served.
 *
 *   0         detached
 *   EINVAL    the handle is spent
 *   ESRCH     never a handle of this process, or of a thread that was left
 *             behind in the parent of a fork
 *
 * CPython: since 3.13 (internal there).
 */
PYTHREAD_API int PyThread_detach_thread(PyThread_handle_t handle);

/*
 * The ident of the calling thread: inside a thread started here the value that
 * its start gave, anywhere else pthread_self(). Never 0. Never blocks; costs
 * the read of a thread-local variable. CPython: all versions.
 */
PYTHREAD_API unsigned long PyThread_get_thread_ident(void);

/* PyThread_get_thread_ident with all 64 bits anywhere. CPython: since 3.13. */
PYTHREAD_API PyThread_ident_t PyThread_get_thread_ident_ex(void);

#if defined(__linux__) || defined(_WIN32) || defined(__APPLE__) || defined(__FreeBSD__) ||         \
    defined(__OpenBSD__) || defined(__NetBSD__) || defined(__DragonFly__) || defined(_AIX)
/* Defined where the system numbers its OS threads. CPython: since 3.8. */
#define PY_HAVE_THREAD_NATIVE_ID
/*
 * The number that the kernel has for the OS thread that the caller runs on:
 * what gettid() gives on Linux, GetCurrentThreadId() on Windows. Never blocks.
 * Threads that do not overlap in time may share it. CPython: since 3.8, where
 * the system has such numbers.
 */
PYTHREAD_API unsigned long PyThread_get_thread_native_id(void);
#endif

/*
 * Ends the calling thread, from any depth of calls; joiners are released. It is
 * pthread_exit(NULL): cleanup handlers run, and C++ frames unwind. On Windows C
 * frames vanish as with longjmp, and a thread must not end in another way.
 * From main, the process ends with status 0 when its last thread has ended, but
 * on Windows, where the Go runtime stays. A
 * thread that C started in a Go program must not call it below a Go function.
 * CPython: all versions, deprecated since 3.14.
 */
PYTHREAD_NORETURN PYTHREAD_API void PyThread_exit_thread(void);

/*
 * Parks the calling thread for ever; signal handlers still run on it.
 * CPython: since 3.14 (internal there).
 */
PYTHREAD_NORETURN PYTHREAD_API void PyThread_hang_thread(void);

/*
 * The stack size of new threads in bytes: always 0, "the system's default".
 * Never blocks. CPython: all versions.
 */
PYTHREAD_API size_t PyThread_get_stacksize(void);

/*
 * Asks for another stack size, in bytes, for new threads. Always -2, "not
 * supported", and nothing changes: the stacks are the system's default.
 * Never blocks. CPython: all versions.
 */
PYTHREAD_API int PyThread_set_stacksize(size_t size);

/* ------------------------------------------------------------------------
 * Locks
 * --------------------------------------------------------------------- */

/*
 * A lock: a binary semaphore. Any thread may release it, not only the one that
 * acquired it; it is not recursive, so a second acquire by the holder waits
 * like any other. Waiters sleep in the kernel, and are not served in order.
 * What a thread did before a release happens before what the next holder does.
 * Acquiring and releasing a lock that nobody contends makes no system call.
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
    PY_LOCK_FAILURE = 0,  /* not acquired: in use, or the time is up */
    PY_LOCK_ACQUIRED = 1, /* acquired: the caller owes a release */
    PY_LOCK_INTR = 2      /* not acquired: a signal handler ran */
} PyLockStatus;

/* Asks PyThread_acquire_lock to wait until it has the lock. CPython: all versions. */
#define WAIT_LOCK 1
/* Asks PyThread_acquire_lock to try, and not to wait. CPython: all versions. */
#define NOWAIT_LOCK 0

/* A timeout in microseconds (PyThread_acquire_lock_timed). CPython: since 3.2. */
#define PY_TIMEOUT_T long long

/*
 * The longest timeout, in microseconds: LLONG_MAX / 1000, so that it fits a
 * long long in nanoseconds. CPython: since 3.2, to 3.12 as a macro.
 */
PYTHREAD_API extern const long long PY_TIMEOUT_MAX;

/*
 * Makes a lock, free. The caller owns it and gives it back with
 * PyThread_free_lock. Never blocks. NULL when no memory is left.
 * CPython: all versions.
 */
PYTHREAD_NODISCARD PYTHREAD_API PyThread_type_lock PyThread_allocate_lock(void);

/*
 * Frees a lock, held or not; NULL is nothing to free. No thread may wait for
 * it or use it any more: that is undefined. Never blocks.
 * CPython: all versions.
 */
PYTHREAD_API void PyThread_free_lock(PyThread_type_lock lock);

/*
 * Acquires a lock. wait is WAIT_LOCK (or any other than 0: block until it is
 * ours; signal handlers run and do not end the wait) or NOWAIT_LOCK (try).
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
 * microseconds  0 tries; more waits so long on the monotonic clock, never
 *               less, and no more than PY_TIMEOUT_MAX; negative waits for ever
 * intr_flag     0: signal handlers run and the wait goes on to the same
 *               deadline; else a handler that ran ends the wait. A wait for
 *               ever is not ended by a handler installed with SA_RESTART, and
 *               on other systems than Linux no wait is ended by any.
 *
 *   PY_LOCK_ACQUIRED   acquired, also where a signal came at the same time
 *   PY_LOCK_FAILURE    in use to the end of that time, or lock is NULL
 *   PY_LOCK_INTR       intr_flag is set and a signal handler ran
 *
 * CPython: since 3.2.
 */
PYTHREAD_API PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock,
                                                      PY_TIMEOUT_T microseconds, int intr_flag);

/*
 * Acquires a lock within a time, serving Python's pending calls (signal
 * handlers written in Python) while it waits. Where the process has a running
 * Python, but not on Windows, the caller holds the GIL, which is given up
 * during the wait; elsewhere an interruption just resumes the wait.
 *
 * nanoseconds  0 tries; more waits so long; negative waits for ever. (The
 *              parameter is in nanoseconds, as in CPython's code.)
 *
 *   PY_LOCK_ACQUIRED   acquired
 *   PY_LOCK_FAILURE    in use to the end of that time, or lock is NULL
 *   PY_LOCK_INTR       a pending call raised: the exception is set
 *
 * CPython: since 3.13 (internal there).
 */
PYTHREAD_API PyLockStatus PyThread_acquire_lock_timed_with_retries(PyThread_type_lock lock,
                                                                   PY_TIMEOUT_T nanoseconds);

/*
 * Releases a lock, whoever acquired it, and lets one waiter have it. Never
 * blocks. A lock that nobody holds stays free, and a line on stderr says that
 * it was released; so too for NULL. CPython: all versions.
 */
PYTHREAD_API void PyThread_release_lock(PyThread_type_lock lock);

/*
 * For the child of a fork: puts a new, free lock in *lock in place of one that
 * a thread of the parent may hold for ever. The old one is leaked on purpose,
 * since a waiter's state in it cannot be trusted. Never blocks.
 *
 *    0   *lock is free
 *   -1   lock is NULL or no memory is left; *lock is untouched
 *
 * CPython: 3.9 to 3.12 (later internal there).
 */
PYTHREAD_API int _PyThread_at_fork_reinit(PyThread_type_lock *lock);

/* ------------------------------------------------------------------------
 * Thread-specific storage
 * --------------------------------------------------------------------- */

/*
 * A key, under which every thread keeps a pointer of its own, NULL at first.
 * The layout is CPython's, so that a key may be static; its fields are the
 * library's. A value belongs to the thread and is gone with it: nothing is
 * called or freed. At least 100,000 keys can be alive at once.
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

/* The initializer of a key: not created. CPython: since 3.7. */
/* clang-format off */
#define Py_tss_NEEDS_INIT {0, 0}
/* clang-format on */

/*
 * Allocates a key that is not created. The caller owns it and gives it back
 * with PyThread_tss_free. Never blocks. NULL when no memory is left.
 * CPython: since 3.7.
 */
PYTHREAD_NODISCARD PYTHREAD_API Py_tss_t *PyThread_tss_alloc(void);

/*
 * Deletes and frees a key of PyThread_tss_alloc; NULL is nothing to free. No
 * thread may use it any more. CPython: since 3.7.
 */
PYTHREAD_API void PyThread_tss_free(Py_tss_t *key);

/*
 * Not 0 if the key is created; 0 if it is not, or is NULL. Never blocks.
 * CPython: since 3.7.
 */
PYTHREAD_API int PyThread_tss_is_created(Py_tss_t *key);

/*
 * Creates a key: NULL is its value in every thread, also where the key was
 * created and deleted before. A created key is left as it is. Several threads
 * may create one key at once: it is created once.
 *
 *    0   created
 *   -1   key is NULL, or no memory or number for it is left
 *
 * CPython: since 3.7.
 */
PYTHREAD_API int PyThread_tss_create(Py_tss_t *key);

/*
 * Deletes a key: every thread's value of it is forgotten. What the values
 * point to is the caller's. A key that is not created, or NULL, is left as it
 * is. No thread may use the key at the same time. CPython: since 3.7.
 */
PYTHREAD_API void PyThread_tss_delete(Py_tss_t *key);

/*
 * Sets the calling thread's value. The library keeps the pointer alone.
 *
 *    0   set
 *   -1   the key is not created, or is NULL, or no memory is left; the value
 *        is as before
 *
 * CPython: since 3.7.
 */
PYTHREAD_API int PyThread_tss_set(Py_tss_t *key, void *value);

/*
 * The calling thread's value; NULL if it has none, or the key is not created
 * or is NULL. Never blocks; preserves errno. CPython: since 3.7.
 */
PYTHREAD_API void *PyThread_tss_get(Py_tss_t *key);

/* The storage of before PEP 539 has plain numbers for keys. */

/*
 * Makes a key of before PEP 539: a number from 0 on; -1 when no memory or number
 * is left. CPython: all versions, deprecated since 3.7.
 */
PYTHREAD_DEPRECATED("PyThread_tss_create") PYTHREAD_API int PyThread_create_key(void);

/*
 * Forgets every thread's value of the key; a number that is no key is ignored.
 * CPython: all versions, deprecated since 3.7.
 */
PYTHREAD_DEPRECATED("PyThread_tss_delete") PYTHREAD_API void PyThread_delete_key(int key);

/*
 * Sets the calling thread's value, in place of an older one.
 *
 *    0   set
 *   -1   key is no key, or no memory is left; the value is as before
 *
 * CPython: all versions, deprecated since 3.7.
 */
PYTHREAD_DEPRECATED("PyThread_tss_set")
PYTHREAD_API int PyThread_set_key_value(int key, void *value);

/*
 * The calling thread's value; NULL if it has none, or if key is no key. Never
 * blocks; preserves errno. CPython: all versions, deprecated since 3.7.
 */
PYTHREAD_DEPRECATED("PyThread_tss_get") PYTHREAD_API void *PyThread_get_key_value(int key);

/*
 * Forgets the calling thread's value. CPython: all versions, deprecated since
 * 3.7.
 */
PYTHREAD_DEPRECATED("PyThread_tss_set") PYTHREAD_API void PyThread_delete_key_value(int key);

/*
 * Does nothing: storage outlives a fork. CPython: all versions, deprecated since
 * 3.7.
 */
PYTHREAD_DEPRECATED("nothing") PYTHREAD_API void PyThread_ReInitTLS(void);

/* ------------------------------------------------------------------------
 * Python objects
 * --------------------------------------------------------------------- */

/*
 * sys.thread_info: a new reference to a named tuple of name, lock and version.
 * The caller holds the GIL of a Python in this process. NULL with an exception
 * set on failure, and NULL at once where the process has no running Python,
 * or on Windows. CPython: since 3.3.
 */
PYTHREAD_NODISCARD PYTHREAD_API struct _object *PyThread_GetInfo(void);

/* PyThread_ParseTimeoutArg's "no timeout": -1 s in nanoseconds. CPython: since 3.13. */
#define PyThread_UNSET_TIMEOUT (-1000000000LL)

/*
 * Reads a timeout argument, a number of seconds, as Python's lock methods take
 * it, rounded away from zero to nanoseconds. The caller holds the GIL of a
 * Python in this process.
 *
 * arg          the argument; NULL or None is no timeout
 * blocking     whether the call that it belongs to may block
 * nanoseconds  where the result goes: PyThread_UNSET_TIMEOUT for no timeout
 *              of a blocking call, 0 for one that may not block
 *
 *    0   *nanoseconds is set
 *   -1   an exception is set: ValueError (a timeout for a call that may not
 *        block, a negative one, not a number), OverflowError (more than
 *        PY_TIMEOUT_MAX microseconds), TypeError. So too, without an
 *        exception, where the process has no running Python, on Windows, or
 *        where nanoseconds is NULL. *nanoseconds is untouched.
 *
 * CPython: since 3.13 (internal there).
 */
PYTHREAD_API int PyThread_ParseTimeoutArg(struct _object *arg, int blocking,
                                          PY_TIMEOUT_T *nanoseconds);

/* ------------------------------------------------------------------------
 * What CPython does not have
 * --------------------------------------------------------------------- */

/*
 * The version of the library in use, "MAJOR.MINOR.PATCH": a static string,
 * which a program may compare with the macros it was compiled with.
 */
PYTHREAD_API const char *pythread_version(void);

/*
 * Names the calling thread, for top, gdb, perf and pythread_dump: the name goes to the OS thread
 * where the system keeps names of those, as on Linux, macOS, the BSDs and Windows 10. The next
 * thread on that OS thread does not find it, but in the mode ALWAYS of pythread_set_reuse. A thread
 * that Go started, and that runs C code by capi.Do, is named in Go alone.
 *
 * name  UTF-8, copied. Of a longer one than 15 bytes, which is what Linux keeps, the first 15 are
 *       taken, without the piece of a character at their end; "" takes the name away.
 *
 *   0        named
 *   EINVAL   name is NULL
 *
 * Never blocks. CPython: _thread.set_name since 3.14, which names the OS thread alone.
 */
PYTHREAD_API int pythread_set_name(const char *name);

/* Which OS threads threads run on (pythread_set_reuse). */
typedef enum pythread_reuse {
    PYTHREAD_REUSE_CLEAN = 0, /* used ones, while nobody can tell that they were used */
    PYTHREAD_REUSE_NEVER = 1, /* one of its own for each thread, which ends with it */
    PYTHREAD_REUSE_ALWAYS = 2 /* used ones, with what earlier threads left there */
} pythread_reuse;

/*
 * Says which OS threads the threads run on that are started from now on, by any thread.
 *
 * PYTHREAD_REUSE_CLEAN, the default where the library can see what a thread leaves on its OS thread
 * (on Linux with glibc, amd64 and arm64): a thread finds its OS thread as pthread_create would have
 * given it. Thread-local variables have their initial values, pthread keys are NULL; signal mask,
 * floating-point modes, name, affinity, nice value and policy are the creator's. Destructors of
 * pthread keys and of C++ thread_local objects have run when the join returns. An OS thread on
 * which a thread left something ends with that thread. Not seen, and not inherited from the
 * creator, are: credentials set by raw system calls, unshare, setns, I/O priority, memory policy
 * (set_mempolicy), what prctl sets for one thread, but its name (timer slack, securebits,
 * no_new_privs, the signal at the parent's death and more), seccomp filters, robust mutexes left
 * locked, variables of the C library and of the allocator, and memory behind pointers that did not
 * change; in a Go program, what goroutines leave that call C code themselves. Nor does what an OS
 * thread has used of processors and more begin at 0 (CLOCK_THREAD_CPUTIME_ID, which is Python's
 * time.thread_time, and RUSAGE_THREAD). A program whose threads change or read these uses
 * PYTHREAD_REUSE_NEVER.
 *
 * PYTHREAD_REUSE_NEVER, the default elsewhere: the same, and all of that too, with an OS thread for
 * each thread.
 *
 * PYTHREAD_REUSE_ALWAYS, the quickest, and the Linux engine's default: signal mask, signal stack,
 * floating-point modes, errno, locale, cancellation and PyThread_tss values are as for a new
 * thread. What else a thread leaves, the next one on its OS thread finds: thread-local variables,
 * pthread keys, name, affinity, nice value, policy and all that is listed above. Destructors run
 * when the OS thread ends, which may be never. Where CLEAN can be set, an OS thread begins
 * with the affinity, nice value and policy that the process had when the library was loaded.
 *
 * The variable PYTHREAD_REUSE in the environment, "clean", "never" or "always" when the library is
 * loaded, does the same for programs that cannot call this. Never blocks.
 *
 *   the mode that was set before    set
 *   -1                              no such mode, or the library cannot offer it here
 */
PYTHREAD_API int pythread_set_reuse(int mode);

/*
 * Tells which mode of pythread_set_reuse is set: by that, by the environment or by default. Never
 * blocks.
 */
PYTHREAD_API int pythread_get_reuse(void);

/*
 * Writes what the threads of this process do, for a program that hangs: one line for each thread
 * that was started here and runs, and for each other one that waits for a lock or a thread of the
 * library's. The line has the ident, the name, the number of the OS thread, how old the thread is,
 * and whether it runs, waits for a lock (which, how long, and who acquired it), waits for the end
 * of a thread, or for nothing that the library knows. Threads that wait for each other in a ring
 * are named in a line "deadlock: ..." after these. What changes while it is written may be missing.
 *
 * The names, and who holds a lock, are told on Linux alone. Times are right to some milliseconds.
 * Another thread may have released a lock than the one that acquired it; then a ring is none.
 *
 * PYTHREAD_DUMP_SIGNAL=USR2 in the environment (or USR1, HUP, QUIT), when the library is loaded,
 * has that signal write a dump to stderr, until the program sets a handler of its own for it.
 *
 * fd  a file descriptor that is open for writing, say 2
 *
 *   0        written
 *   EBUSY    another call is under way: nothing was written
 *   errno's  value of the write that failed, EBADF say
 *
 * Takes no lock and waits for the write alone: may be called in a signal handler. CPython: its
 * faulthandler shows where Python code stands, and knows nothing of locks.
 */
PYTHREAD_API int pythread_dump(int fd);

/*
 * Writes from now on what the threads of this process do to a file that Perfetto
 * (https://ui.perfetto.dev) and chrome://tracing show: on a track for each OS thread, a bar for
 * each start, thread from begin to end, wait for a lock and join, and an arrow from the start of a
 * thread to its begin. An event is written when it is over. A trace that is under way is ended:
 * what it lacks is written, threads that still run among it, and its file is closed. So is one at
 * the exit of the process, but not at _exit or a crash, after which the file has all but the last 4
 * KiB of each OS thread.
 *
 * PYTHREAD_TRACE=FILE in the environment, when the library is loaded, begins a trace. The child of
 * a fork writes to no trace of its parent's; a program that it executes would begin the file anew.
 *
 * path  the file, which is made, or emptied; NULL: no new trace
 *
 *   0        done
 *   EBUSY    another call is under way: nothing was done
 *   errno's  value of what failed: no new trace is written, and the old one has ended
 *
 * Waits for writes to the file. CPython has no counterpart.
 */
PYTHREAD_API int pythread_trace(const char *path);

/* What the library holds at one moment (pythread_get_stats). Later versions add fields at the end.
 */
typedef struct pythread_stats {
    size_t threads; /* threads started here that have not ended */
    size_t handles; /* handles that were neither joined nor detached */
    size_t
        os_threads; /* OS threads that the Go runtime has used, idle ones too; 0 before it starts */
    size_t goroutines; /* goroutines that run threads, or are about to */
} pythread_stats;

/*
 * Counts what the library holds, for monitoring and leak tests. Each number is
 * right at some moment during the call, not all at the same one. Never blocks.
 *
 * stats  where the numbers go
 * size   sizeof(pythread_stats) of the caller: so many bytes are written. A
 *        field that this library does not have gets 0.
 *
 *   0        counted
 *   EINVAL   stats is NULL
 */
PYTHREAD_API int pythread_get_stats(pythread_stats *stats, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* Py_PYTHREAD_H */
