/*
 * stack.h - the stack size of threads that get a pthread of their own.
 *
 * The library does not set stack sizes (PyThread_set_stacksize returns -2), since threads share OS
 * threads. Under pythread-run they can be set: its companion, preload/preload.c, defines the
 * function below. Both engines ask here.
 */
#ifndef STACK_H
#define STACK_H

#include <stddef.h>

#ifdef __linux__

#include <pthread.h>

/* The stack size in bytes for threads that start now; 0 for the usual one. NULL where the companion
   is not loaded. */
extern __attribute__((weak)) size_t pythread_preload_stacksize(void);

static inline size_t stack_size(void)
{
    return pythread_preload_stacksize != NULL ? pythread_preload_stacksize() : 0;
}

/* Sets that size, where there is one, in the attributes of a pthread to be made. */
static inline void stack_set_size(pthread_attr_t *attr)
{
    if (stack_size() != 0) {
        pthread_attr_setstacksize(attr, stack_size());
    }
}

#else

static inline size_t stack_size(void)
{
    return 0;
}

static inline void stack_set_size(void *attr)
{
    (void)attr;
}

#endif

#endif
