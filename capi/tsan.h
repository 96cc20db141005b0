/*
 * tsan.h - what ThreadSanitizer is told. In a program that is built with it, it cannot see into
 * this library, whose atomics and futexes order what the program's threads do. So it is told: what
 * comes before tsan_release of an address happens before what comes after a later tsan_acquire of
 * it.
 */
#ifndef TSAN_H
#define TSAN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __ELF__

/* NULL in other programs, where each call costs a load and a branch. Go's race detector has two of
   these names for functions of its own, with other parameters, but not the third. */
extern __attribute__((weak)) void __tsan_acquire(void *address);
extern __attribute__((weak)) void __tsan_release(void *address);
extern __attribute__((weak)) void __tsan_func_entry(void *caller);

static inline void tsan_acquire(const void *address)
{
    if (__tsan_func_entry != NULL && __tsan_acquire != NULL) {
        __tsan_acquire((void *)(uintptr_t)address);
    }
}

static inline void tsan_release(const void *address)
{
    if (__tsan_func_entry != NULL && __tsan_release != NULL) {
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

#endif
