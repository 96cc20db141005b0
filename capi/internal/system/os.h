/*
 * os.h - the interface to the operating system. os_linux.c, os_posix.c and os_windows.c implement
 * it; the top of each says for which systems. Invariant: no function here changes errno.
 */
#ifndef OS_H
#define OS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifndef _WIN32
#include <pthread.h>
#endif

/* With OS_PORTABLE, waits, sets of signals and forks use only POSIX. Linux has better ways, and
   uses this only in a build that tests it. */
#if !defined(OS_PORTABLE) && !defined(__linux__) && !defined(_WIN32)
#define OS_PORTABLE
#endif

/* A thread-local variable. In the initial-exec model a read is one load, also in a shared library.
   Go's own thread-local storage needs that model anyway. The section keeps the library's variables
   side by side, which clean.c needs. */
#ifdef __ELF__
#define OS_THREAD_LOCAL                                                                            \
    _Thread_local __attribute__((tls_model("initial-exec"), section("pythread_variables")))
#else
#define OS_THREAD_LOCAL _Thread_local
#endif
#define THREAD_LOCAL static OS_THREAD_LOCAL

/* ------------------------------------------------------------------------ time and waits */

/* The system's monotonic clock in nanoseconds. 64 bits are enough for 292 years; a time_t has 32
   bits on some systems. */
int64_t os_now_ns(void);

/* The same clock, up to some milliseconds late. It is faster to read. */
int64_t os_about_now_ns(void);

/* No deadline: the wait has no limit. */
#define OS_NO_DEADLINE INT64_MAX

/* The time `ns` nanoseconds from now. If that does not fit, the latest deadline. */
static inline int64_t os_deadline_in(int64_t ns)
{
    int64_t now = os_now_ns();
    return ns < OS_NO_DEADLINE - now ? now + ns : OS_NO_DEADLINE - 1;
}

/* The time `us` microseconds from now. OS_NO_DEADLINE if they are negative. */
static inline int64_t os_deadline_in_us(int64_t us)
{
    if (us < 0) {
        return OS_NO_DEADLINE;
    }
    return os_deadline_in(us < INT64_MAX / 1000 ? us * 1000 : INT64_MAX);
}

/*
 * Sleeps while *word has the expected value, until os_wake, until the deadline or, on Linux, until
 * a signal handler has run. On other systems handlers run and the sleep goes on, as in CPython's
 * locks of a mutex and a condition.
 *
 *   0           woken, *word differs, or without a reason
 *   ETIMEDOUT   the deadline has passed, and no os_wake counts the caller as woken
 *   EINTR       a handler has run, and no os_wake counts the caller as woken. A handler with
 *               SA_RESTART ends only a sleep with a deadline, as with sem_wait and sem_timedwait.
 */
int os_wait(atomic_uint *word, unsigned expected, int64_t deadline);

/* Wakes up to `count` threads that sleep on the word, whose memory may be freed already. */
void os_wake(atomic_uint *word, int count);

/* Sleeps for this time, or until a signal handler has run. For waits that nothing wakes. Unlike
   nanosleep, this is no cancellation point. */
static inline void os_sleep(int64_t ns)
{
    atomic_uint never = 0;
    os_wait(&never, 0, os_deadline_in(ns));
}
enum { OS_MILLISECOND = 1000000 };

/* ------------------------------------------------------------------------ threads */

/* The kernel's numbers for the calling thread and for its process. */
unsigned long os_thread_id(void);
unsigned long os_process_id(void);

/* True in the main thread of the process. Only Linux gives both the same number. */
static inline bool os_is_main_thread(void)
{
    return os_thread_id() == os_process_id();
}

/* A number that only the calling thread has, and that is never small. */
static inline uintptr_t os_self(void)
{
#ifdef _WIN32 /* A thread's number is small, and a multiple of 4. */
    return ~(uint32_t)os_thread_id();
#else
    return (uintptr_t)pthread_self();
#endif
}

/* Where the calling OS thread begins a search among many places: always at the same number, and
   others at others. The upper bits of the product depend on all bits. */
static inline unsigned os_first_place(void)
{
    return (unsigned)((uint64_t)os_self() * 0x9e3779b97f4a7c15 >> 32);
}

/* A range of addresses from low on. Empty if the size is 0. */
struct os_range {
    uintptr_t low;
    size_t size;
};

/* The stack with which the calling thread was made. Empty if the system does not say. */
struct os_range os_stack(void);

/* Gives memory back that calls have used below the caller's frame, down to low. The nearest part,
   which the next calls use too, stays. */
void os_give_back_stack(uintptr_t low);

/* A buffer for a thread's name. */
#ifdef __linux__
#define OS_NAME_SIZE 16
#else
#define OS_NAME_SIZE 64
#endif

/* Read and set the calling thread's name. It reads as "" if the system keeps no names. Windows has
   no os_get_name. */
void os_get_name(char name[OS_NAME_SIZE]);
void os_set_name(const char name[OS_NAME_SIZE]);

/*
 * A slot of each OS thread. At the end of an OS thread with a value that is not NULL, the system
 * calls destroy with the value. If destroy sets a value again, it is called again, up to
 * OS_KEY_ROUNDS times.
 */
typedef unsigned long os_key;
#ifdef _WIN32
#define OS_KEY_ROUNDS 1
#define OS_KEY_DESTROY __stdcall
#else
#define OS_KEY_ROUNDS 4 /* _POSIX_THREAD_DESTRUCTOR_ITERATIONS, the least that a system has */
#define OS_KEY_DESTROY
#endif

/* False if no key or memory is left. */
bool os_key_create(os_key *key, void(OS_KEY_DESTROY *destroy)(void *));
bool os_key_set(os_key key, void *value);
void *os_key_get(os_key key);
void os_key_delete(os_key key);

/* ------------------------------------------------------------------------ signals and forks */

/* A set of signals. The kernel's type has 8 bytes, the C library's 128. Windows blocks no signals.
 */
#ifdef OS_PORTABLE
#include <signal.h>
typedef sigset_t os_signals;
#else
typedef uint64_t os_signals;
#endif

/* The calling thread's signal mask. Functions that change it return the old mask. */
os_signals os_signal_mask(void);
os_signals os_set_signal_mask(os_signals mask);
os_signals os_block_signals(void); /* except those that the C library sends to its threads */
os_signals os_block_all_signals(void);

/*
 * Sets the mask of a thread that blocked signals, and that now ends or has come back from Go. For a
 * signal to the process the kernel wakes the main thread, but the first thread that can take the
 * signal gets it. On Linux the caller waits for a moment until the main thread has taken its
 * signals.
 */
void os_unblock_signals(os_signals mask);

/* Returns the set with one more signal. */
os_signals os_with_signal(os_signals signals, int signal);

/* True if the set is not empty. */
bool os_is_any_signal(os_signals signals);

/* Discards the signals that are pending for only the calling thread, which blocks all signals. With
   OS_PORTABLE they stay pending, since POSIX does not tell them from those of the process. */
void os_discard_signals(void);

/* Makes a word that is 0 in the child of a fork, and is never freed. Called once. */
atomic_uint *os_fork_word(void);

/* Keeps the calling thread from being cancelled. The calls of the system that wait are cancellation
   points. A cancellation there would leave the library's work half done. While signals are blocked,
   the thread would wait for ever for the C library's signal. Returns an argument for
   os_allow_cancel. */
int os_forbid_cancel(void);
void os_allow_cancel(int state);

/* Creates or empties a file, to append to. Returns its descriptor, or a negative errno. */
int os_create(const char *path);
void os_close(int fd);

/* Writes all the bytes to a file descriptor, without a buffer. Returns 0 or an errno. */
int os_write(int fd, const void *bytes, size_t length);

enum { OS_STDERR = 2 };

/* Writes a text to stderr, and ignores a failure. */
static inline void os_write_error(const char *text)
{
    os_write(OS_STDERR, text, strlen(text));
}

/* ------------------------------------------------------------------------ for a dump */

/* Returns new pages of memory, all zero, or NULL. May be called in a signal handler. */
void *os_map(size_t size);
void os_unmap(void *pages, size_t size);

/* Reads memory that may be unmapped. False if it is, or if the system cannot do this. */
bool os_read(void *to, const void *from, size_t size);

/* Reads an OS thread's name, and whether it runs or is ready to run. False if the system does not
   say. May be called in a signal handler. */
bool os_look_at(unsigned long thread_id, char name[OS_NAME_SIZE], bool *runs);

/* ------------------------------------------------------------------------ processors */

/* How many processors this process may run on. With 1, it is useless to spin. */
int os_processors(void);

/* The number of the processor that the caller runs on now, or 0 if the system does not say. */
int os_processor(void);

/* Makes a waiting OS thread leave this processor for another one on which it may run. Returns the
   set of all on which it may run; 0: it was not moved. The OS thread must give itself this set
   again. It is not moved if a long has too few bits for all processors. */
unsigned long os_move_from(int processor, unsigned long thread_id);

/* Sets the processors on which the calling OS thread may run. */
void os_set_processors(unsigned long set);

/* One step of a spin. */
static inline void os_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* A spin of limited time: for (spin = os_spin_begin(ns); condition && os_spin(&spin);) {} */
struct os_spin {
    int64_t ns, end;
};

static inline struct os_spin os_spin_begin(int64_t ns)
{
    return (struct os_spin){.ns = ns};
}

/* Spins for about 100 ns. False when the time is up. With one processor, that is at once. */
static inline bool os_spin(struct os_spin *spin)
{
    enum { STEPS = 4 };
    for (int i = 0; i < STEPS; i++) {
        os_relax();
    }
    int64_t now = os_now_ns();
    if (spin->end == 0) {
        spin->end = os_processors() > 1 ? now + spin->ns : now;
    }
    return now < spin->end;
}

/* The modes with which a process begins. */
#if defined(__x86_64__)
#define OS_FIRST_FLOAT_MODE (UINT64_C(0x37f) << 32 | 0x1f80)
#else
#define OS_FIRST_FLOAT_MODE UINT64_C(0)
#endif

/* The bits of a mode which are status flags. */
#if defined(__x86_64__)
#define OS_FLOAT_FLAGS UINT64_C(0x3f)
#else
#define OS_FLOAT_FLAGS UINT64_C(0)
#endif

/* The calling thread's modes of floating-point arithmetic: rounding, traps, denormals. */
static inline uint64_t os_float_mode(void)
{
#if defined(__x86_64__)
    uint16_t x87;
    __asm__ volatile("fnstcw %0" : "=m"(x87));
    return (uint64_t)x87 << 32 | __builtin_ia32_stmxcsr();
#elif defined(__aarch64__)
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
#else
    return 0;
#endif
}

static inline void os_set_float_mode(uint64_t mode)
{
#if defined(__x86_64__)
    uint16_t x87 = (uint16_t)(mode >> 32);
    __asm__ volatile("fldcw %0" : : "m"(x87));
    __builtin_ia32_ldmxcsr((unsigned)mode);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
#else
    (void)mode;
#endif
}

/* ------------------------------------------------------------------------ Linux only */

#ifdef __linux__

/* How many OS threads the process has; 0 if the system does not say. */
size_t os_thread_count(void);

#endif

#endif
