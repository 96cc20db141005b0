/*
 * os_thread.c - the system's pthread_create.
 *
 * libpythread.so is linked so that each pthread_create in it is that of go_threads.c (--wrap).
 *
 * Callers: forked.c, own_os_thread.c.
 */
#include "os_thread.h"

#ifdef __linux__
/* Where the library is linked so that Go's pthread_create is not the system's: that one. */
__attribute__((weak)) int __real_pthread_create(pthread_t *, const pthread_attr_t *,
                                                void *(*)(void *), void *);
#endif

int os_thread_create(pthread_t *os_thread, const pthread_attr_t *attr, void *(*func)(void *),
                     void *arg)
{
#ifdef __linux__
    if (__real_pthread_create != NULL) {
        return __real_pthread_create(os_thread, attr, func, arg);
    }
#endif
    return pthread_create(os_thread, attr, func, arg);
}
