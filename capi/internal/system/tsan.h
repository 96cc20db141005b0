/*
 * tsan.h - what ThreadSanitizer is told. It does not see the atomics and futexes of this library,
 * which order what the threads of a program do. So the library tells it: what comes before a
 * tsan_release happens before what comes after a later tsan_acquire of the same address.
 */
#ifndef TSAN_H
#define TSAN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __ELF__

/* NULL in programs without ThreadSanitizer, where each call costs a load and a branch. A Go program
   with the race detector has the first two, for Go code alone, but not the third. */
extern __attribute__((weak)) void __tsan_acquire(void *address);
extern __attribute__((weak)) void __tsan_release(void *address);
extern __attribute__((weak)) void __tsan_read8(void *address);

static inline void tsan_acquire(const void *address)
{
    if (__tsan_read8 != NULL) {
        __tsan_acquire((void *)(uintptr_t)address);
    }
}

static inline void tsan_release(const void *address)
{
    if (__tsan_read8 != NULL) {
        __tsan_release((void *)(uintptr_t)address);
    }
}

#else

static inline void tsan_acquire(const void *address)
{
    (void)address;
}

static inline void tsan_release(const void *address)
{
    (void)address;
}

#endif

/* Addresses by which ThreadSanitizer is told that a start happens before the thread, and the thread
   before its join. Two threads may have one, so that a race of theirs may not be seen. */
enum { TSAN_MARKS = 1024 };
extern uint64_t tsan_start_marks[TSAN_MARKS], tsan_end_marks[TSAN_MARKS];

static inline uint64_t *tsan_start_mark(void (*func)(void *), const void *arg)
{
    return &tsan_start_marks[((uintptr_t)func ^ (uintptr_t)arg >> 3) % TSAN_MARKS];
}

static inline uint64_t *tsan_end_mark(unsigned long long ident)
{
    return &tsan_end_marks[ident % TSAN_MARKS];
}

#endif
