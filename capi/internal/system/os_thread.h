/* os_thread.h - the system's pthread_create. */
#ifndef OS_THREAD_H
#define OS_THREAD_H

#include <pthread.h>

/* Calls the system's pthread_create. The library may have wrapped that name, for Go's OS threads.
 */
int os_thread_create(pthread_t *os_thread, const pthread_attr_t *attr, void *(*func)(void *),
                     void *arg);

#endif
