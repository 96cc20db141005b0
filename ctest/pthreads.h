/* pthreads.h - runs plain pthreads, for tests that need no thread of the library. */
#ifndef PTHREADS_H
#define PTHREADS_H

#include "test.h"

#include <pthread.h>
#include <stdbool.h>

/* Runs one pthread to its end, and returns its result. */
static inline void *run_thread(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    void *result;
    EQ(pthread_create(&thread, NULL, run, arg), 0);
    EQ(pthread_join(thread, &result), 0);
    return result;
}

/* Runs count pthreads at once, up to 64, to their end. The argument of each is its number. */
static inline void run_threads(int count, void *(*run)(void *))
{
    pthread_t threads[64];
    LE(count, 64);
    for (intptr_t i = 0; i < count; i++) {
        EQ(pthread_create(&threads[i], NULL, run, (void *)i), 0);
    }
    for (int i = 0; i < count; i++) {
        EQ(pthread_join(threads[i], NULL), 0);
    }
}

/* True if the kernel says that an OS thread of this process sleeps. */
static inline bool is_asleep(long os_thread)
{
    char path[64], state = '?';
    snprintf(path, sizeof path, "/proc/self/task/%ld/stat", os_thread);
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1) {
            state = '?';
        }
        fclose(file);
    }
    return state == 'S';
}

#endif
