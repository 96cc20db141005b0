/*
 * stack.h - the stack size of threads that get a pthread of their own.
 *
 * The library does not set stack sizes (PyThread_set_stacksize returns -2), since threads share OS
 * threads. Under pythread-run they can be set: its companion, preload/preload.c, defines the
 * function below.
 */
#ifndef STACK_H
#define STACK_H

#include <pthread.h>
#include <stddef.h>

#ifdef __linux__

/* The stack size in bytes for threads that start now; 0 for the usual one. NULL where the companion
   is not loaded. */
extern __attribute__((weak)) size_t pythread_preload_stacksize(void);

static inline size_t stack_size(void)
{
    return pythread_preload_stacksize != NULL ? pythread_preload_stacksize() : 0;
}

#else

static inline size_t stack_size(void)
{
    return 0;
}

#endif

/* Sets such a size in the attributes of a pthread to be made; 0 changes nothing. */
static inline void stack_set_size(pthread_attr_t *attr, size_t size)
{
    if (size != 0) {
        pthread_attr_setstacksize(attr, size);
    }
}

#endif
