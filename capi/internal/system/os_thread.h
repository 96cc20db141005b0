/* os_thread.h - the system's pthread_create. */
#ifndef OS_THREAD_H
#define OS_THREAD_H

#include <pthread.h>

/* Like pthread_create, which may be the library's own, for Go's OS threads. */
int os_thread_create(pthread_t *os_thread, const pthread_attr_t *attr, void *(*func)(void *),
                     void *arg);

#endif
