/*
 * os.h - what the C side asks of the operating system: all that another POSIX
 * system has to bring is a file beside os_linux.c. Invariant: no function here
 * changes errno.
 */
#ifndef OS_H
#define OS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A variable of each thread. In the initial-exec model reading it is one load, in a shared library
   too; Go's own thread-local storage binds the library to that model anyway. */
#define THREAD_LOCAL static _Thread_local __attribute__((tls_model("initial-exec")))

/*
 * Time is whole nanoseconds on the system's monotonic clock. They fit 64 bits for 292 years, and
 * need no time_t, which has 32 bits on some systems.
 */
int64_t os_now_ns(void);

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
 * (OS_NO_DEADLINE: none) or until a signal handler ran.
 * 0: woken, *word differs, or for no reason; ETIMEDOUT: never before the
 * deadline; EINTR: a handler ran (with SA_RESTART only where there is a
 * deadline, as sem_timedwait and sem_wait do). Preserves errno.
 */
int os_wait(atomic_uint *word, unsigned expected, int64_t deadline_ns);

/* Wakes up to count threads that sleep on word, which need not exist any more. */
void os_wake(atomic_uint *word, int count);

/* Writes a text to stderr, past all buffers. Where that fails nobody is told. */
void os_write_error(const char *text);

/* The kernel's number for the calling thread. */
unsigned long os_thread_id(void);

/* Every signal but those that the C library sends among its threads. */
#define OS_ALL_SIGNALS (~(3ULL << 31))

/* The calling thread's signal mask, a bit for each signal from 1; setting it gives the old one. */
uint64_t os_signal_mask(void);
uint64_t os_set_signal_mask(uint64_t mask);

/* Discards what signals are pending for the calling thread alone. It blocks all signals. */
void os_discard_signals(void);

/* How many OS threads the process has; 0 when the system does not say. */
size_t os_thread_count(void);

/* A buffer for a thread's name. */
#define OS_NAME_SIZE 16

/* Reads and sets the calling thread's name. */
void os_get_name(char name[OS_NAME_SIZE]);
void os_set_name(const char name[OS_NAME_SIZE]);

/* One step of a spin: tells the core that it spins. */
static inline void os_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* A word, never freed, that reads 0 in the child of a fork. */
atomic_uint *os_fork_word(void);

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

/* A spin of limited length: for (spin = os_spin_begin(ns); not yet && os_spin(&spin);) {} */
struct os_spin {
    int64_t ns, end;
};

static inline struct os_spin os_spin_begin(int64_t ns)
{
    return (struct os_spin){.ns = ns};
}

/* Relaxes for some 100 ns. False when the time is up, at once where there is one processor. */
bool os_spin(struct os_spin *spin);

/* How many processors this process may run on; 1 means that spinning is no use. */
int os_processors(void);

/* The number of the processor that the caller runs on at this moment, 0 or more. */
int os_processor(void);

#endif
