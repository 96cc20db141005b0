/*
 * failing_malloc.h - a malloc for a whole program: it fails once, on one thread, at the n-th call
 * from now, and counts the blocks that this thread has not freed.
 */
#ifndef FAILING_MALLOC_H
#define FAILING_MALLOC_H

#include "test.h"

#include <stdbool.h>

/* Volatile, because the compiler assumes that malloc changes no variable of the program. */
static _Thread_local volatile long calls_to_failure = -1;
static _Thread_local volatile long blocks_held;

#if !UNDER_ASAN && !UNDER_TSAN /* they have their own */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void __libc_free(void *memory);

static bool fails(void)
{
    bool now = calls_to_failure == 0;
    calls_to_failure = calls_to_failure - (calls_to_failure >= 0);
    if (now) {
        errno = ENOMEM;
    }
    return now;
}

static void *counted(void *memory)
{
    blocks_held = blocks_held + (memory != NULL);
    return memory;
}

void *malloc(size_t size)
{
    return fails() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *memory, size_t size)
{
    if (fails()) {
        return NULL;
    }
    return memory == NULL ? counted(__libc_realloc(NULL, size)) : __libc_realloc(memory, size);
}

void free(void *memory)
{
    blocks_held = blocks_held - (memory != NULL);
    __libc_free(memory);
}
#endif

static inline void need_failing_malloc(void)
{
    long before = blocks_held;
    void *volatile block = malloc(1);
    bool counts = blocks_held == before + 1;
    free(block);
    if (!counts) {
        test_skip("another malloc than this program's is in use");
    }
}

/* Calls with the first allocation failing, then with the second, and so on until the call succeeds.
   A failure may change neither errno nor what is allocated. Returns the number of failures. */
static inline int fail_until_success(int (*call)(void *arg), void *arg)
{
    for (int n = 0;; n++) {
        long held = blocks_held;
        calls_to_failure = n;
        errno = 4711;
        int result = call(arg);
        bool failed = calls_to_failure < 0;
        calls_to_failure = -1;
        EQ(errno, 4711);
        if (result == 0) {
            CHECK(!failed);
            return n;
        }
        EQ(result, -1);
        CHECK(failed);
        EQ(blocks_held, held);
    }
}

#endif
