/*
 * stack.h - the stack size of threads that have a pthread of their own.
 *
 * The library does not set stack sizes, because threads share OS threads: PyThread_set_stacksize
 * returns -2. Under pythread-run the companion, preload/preload.c, can set them. It defines the
 * function below.
 */
#ifndef STACK_H
#define STACK_H

#include <pthread.h>
#include <stddef.h>

#ifdef __linux__

/* The stack size in bytes for threads that start now; 0: the default. This is NULL if the companion
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

/* Sets the size in the attributes of a pthread. 0 changes nothing. */
static inline void stack_set_size(pthread_attr_t *attr, size_t size)
{
    if (size != 0) {
        pthread_attr_setstacksize(attr, size);
    }
}

#endif
