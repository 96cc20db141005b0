/*
 * gate.h - threads of the library that wait at a gate until the case opens it.
 */
#ifndef GATE_H
#define GATE_H

#include "threads.h"

#include <pthread.h>

/* Threads wait at the gate until the case opens it. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static inline void wait_at_gate(void *arg)
{
    count(arg);
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
}

#endif
