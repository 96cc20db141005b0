/*
 * os.h - what the C side asks of the operating system. os_linux.c, os_posix.c and os_windows.c
 * answer; each says at its top for which systems it is. Invariant: no function here changes errno.
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

/* Set where a wait, a set of signals and a fork are done with what POSIX has; on Linux, which has
   better, only where the build asks for it: so this can be tested there. */
#if !defined(OS_PORTABLE) && !defined(__linux__) && !defined(_WIN32)
#define OS_PORTABLE
#endif

/* A variable of each thread. In the initial-exec model reading it is one load, in a shared library
   too; Go's own thread-local storage binds the library to that model anyway. The section has the
   library's variables side by side, wherever they are linked to (clean.c). */
#ifdef __ELF__
#define OS_THREAD_LOCAL                                                                            \
    _Thread_local __attribute__((tls_model("initial-exec"), section("pythread_variables")))
#else
#define OS_THREAD_LOCAL _Thread_local
#endif
#define THREAD_LOCAL static OS_THREAD_LOCAL

/* ------------------------------------------------------------------------ time and waits */

/*
 * Time is whole nanoseconds on the system's monotonic clock. They fit 64 bits for 292 years, and
 * need no time_t, which has 32 bits on some systems.
 */
int64_t os_now_ns(void);

/* The same clock, read in less time, and up to some milliseconds behind. */
int64_t os_about_now_ns(void);

/* The deadline that never comes. */
#define OS_NO_DEADLINE INT64_MAX

/* The time that many nanoseconds from now; where it does not fit, the latest deadline there is. */
static inline int64_t os_deadline_in(int64_t ns)
{
    int64_t now = os_now_ns();
    return ns < OS_NO_DEADLINE - now ? now + ns : OS_NO_DEADLINE - 1;
}

/*
 * Sleeps while *word is expected, until os_wake, until the deadline
 * (OS_NO_DEADLINE: none) or, on Linux, until a signal handler ran. Elsewhere
 * handlers run and the sleep goes on, as with CPython's locks of a mutex and a
 * condition.
 * 0: woken, *word differs, or for no reason; ETIMEDOUT: never before the
 * deadline, and no os_wake counts the caller as woken; EINTR: a handler ran,
 * and so too (with SA_RESTART only where there is a deadline, as sem_timedwait
 * and sem_wait do).
 */
int os_wait(atomic_uint *word, unsigned expected, int64_t deadline);

/* Wakes up to count threads that sleep on word, which need not exist any more. */
void os_wake(atomic_uint *word, int count);

/* ------------------------------------------------------------------------ threads */

/* The kernel's number for the calling thread. */
unsigned long os_thread_id(void);

/* What tells the calling thread from all others there are, and is no small number. */
static inline uintptr_t os_self(void)
{
#ifdef _WIN32 /* Its number is small, and a multiple of 4. */
    return ~(uint32_t)os_thread_id();
#else
    return (uintptr_t)pthread_self();
#endif
}

/* Addresses from low on, so many; none where the size is 0. */
struct os_range {
    uintptr_t low;
    size_t size;
};

/* The stack with which the calling thread was made; none where the system does not say. */
struct os_range os_stack(void);

/* A buffer for a thread's name. */
#ifdef __linux__
#define OS_NAME_SIZE 16
#else
#define OS_NAME_SIZE 64
#endif

/* Reads, but on Windows, and sets the calling thread's name; where the system keeps none it is "".
 */
void os_get_name(char name[OS_NAME_SIZE]);
void os_set_name(const char name[OS_NAME_SIZE]);

/*
 * A slot of each OS thread. When an OS thread ends that has a value there, not NULL, destroy is
 * called with the value; where it sets one again it is called again, in up to OS_KEY_ROUNDS rounds.
 */
typedef unsigned long os_key;
#ifdef _WIN32
#define OS_KEY_ROUNDS 1
#define OS_KEY_DESTROY __stdcall
#else
#define OS_KEY_ROUNDS 4 /* _POSIX_THREAD_DESTRUCTOR_ITERATIONS: what every system has at least */
#define OS_KEY_DESTROY
#endif

/* False where the system has no key left, or no memory. */
bool os_key_create(os_key *key, void(OS_KEY_DESTROY *destroy)(void *));
bool os_key_set(os_key key, void *value);
void *os_key_get(os_key key);
void os_key_delete(os_key key);

/* ------------------------------------------------------------------------ signals and forks */

/* A set of signals. Linux's own is eight bytes, the C library's 128; Windows blocks none. */
#ifdef OS_PORTABLE
#include <signal.h>
typedef sigset_t os_signals;
#else
typedef uint64_t os_signals;
#endif

/* The calling thread's signal mask. What changes it gives the one before. */
os_signals os_signal_mask(void);
os_signals os_set_signal_mask(os_signals mask);
os_signals os_block_signals(void); /* but those that the C library sends among its threads */
os_signals os_block_all_signals(void);

/*
 * Sets the mask of a thread that ends, or has come back from Go, after it blocked signals. The
 * kernel gives a signal that was sent to the process to the first thread that takes signals, though
 * it has woken the main thread for it. On Linux the caller waits, for a moment, until the main
 * thread has taken what is its own.
 */
void os_unblock_signals(os_signals mask);

/* The set, and one signal more. */
os_signals os_with_signal(os_signals signals, int signal);

/* Whether there is any signal in the set. */
bool os_is_any_signal(os_signals signals);

/* Discards what signals are pending for the calling thread alone, which blocks all. With
   OS_PORTABLE they stay pending, since no standard tells them from those of the process. */
void os_discard_signals(void);

/* A word, never freed, that reads 0 in the child of a fork. It is asked for once. */
atomic_uint *os_fork_word(void);

/* Makes a file, or empties it, to be written at its end. Its descriptor, or errno's value below 0.
 */
int os_create(const char *path);
void os_close(int fd);

/* Writes to a file descriptor, past all buffers, and all of it. 0, or errno's value. */
int os_write(int fd, const void *bytes, size_t length);

enum { OS_STDERR = 2 };

/* Writes a text to stderr. Where that fails nobody is told. */
static inline void os_write_error(const char *text)
{
    os_write(OS_STDERR, text, strlen(text));
}

/* ------------------------------------------------------------------------ what a dump asks */

/* Pages of memory, all zero. NULL where there are none. May be called in a signal handler. */
void *os_map(size_t size);
void os_unmap(void *pages, size_t size);

unsigned long os_process_id(void);

/* Reads memory that may not be there any more. False where that is so, or the system cannot. */
bool os_read(void *to, const void *from, size_t size);

/* Reads an OS thread's name, and whether it runs or is about to. False where the system does not
   say. May be called in a signal handler. */
bool os_look_at(unsigned long thread_id, char name[OS_NAME_SIZE], bool *runs);

/* ------------------------------------------------------------------------ processors */

/* How many processors this process may run on; 1 means that spinning is no use. */
int os_processors(void);

/* The number of the processor that the caller runs on at this moment, 0 or more; where the system
   does not say, all are 0. */
int os_processor(void);

/* One step of a spin: tells the core that it spins. */
static inline void os_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* A spin of limited length: for (spin = os_spin_begin(ns); not yet && os_spin(&spin);) {} */
struct os_spin {
    int64_t ns, end;
};

static inline struct os_spin os_spin_begin(int64_t ns)
{
    return (struct os_spin){.ns = ns};
}

/* Relaxes for some 100 ns. False when the time is up, at once where there is one processor. */
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

/* The calling thread's modes of floating-point arithmetic: rounding, traps, tiny numbers. */
static inline uint64_t os_float_mode(void)
{
#if defined(__x86_64__)
    uint16_t x87;
    __asm__ volatile("fnstcw %0" : "=m"(x87));
    /* But for the low bits, which are flags of what has happened. */
    return (uint64_t)x87 << 32 | (__builtin_ia32_stmxcsr() & ~0x3fU);
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

/* ------------------------------------------------------------------------ Linux alone */

#ifdef __linux__

/* How many OS threads the process has; 0 when the system does not say. */
size_t os_thread_count(void);

#endif

#endif
