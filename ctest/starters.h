/*
 * starters.h - threads that start and join threads without end, while the case does something else.
 */
#ifndef STARTERS_H
#define STARTERS_H

#include "threads.h"

#include <stdbool.h>

enum { STARTERS = 4 };

static PyThread_handle_t starters[STARTERS];
static atomic_int starters_begun;
static atomic_bool starters_stop;

static inline void start_without_end(void *arg)
{
    (void)arg;
    atomic_int ran = 0;
    int started = 0;
    count(&starters_begun);
    while (!atomic_load(&starters_stop)) {
        PyThread_handle_t handles[4];
        for (int i = 0; i < 4; i++, started++) {
            handles[i] = start(count, &ran);
        }
        for (int i = 0; i < 4; i++) {
            join(handles[i]);
        }
    }
    EQ(atomic_load(&ran), started);
}

/* Once in a case. */
static inline void begin_starters(void)
{
    for (int i = 0; i < STARTERS; i++) {
        starters[i] = start(start_without_end, NULL);
    }
    wait_for_count(&starters_begun, STARTERS);
}

static inline void end_starters(void)
{
    atomic_store(&starters_stop, true);
    for (int i = 0; i < STARTERS; i++) {
        join(starters[i]);
    }
}

#endif
