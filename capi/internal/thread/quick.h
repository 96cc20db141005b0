/* quick.h - threads that one thread starts and joins, one right after the other. */
#ifndef QUICK_H
#define QUICK_H

#include "pythread.h"

#include <stdbool.h>

/* True where the calling thread starts a thread right after the join of its last one. Called once
   by each start. */
bool quick_start(void);

/* The calling thread has started a thread. `ends` was the count of ends_seen before. */
void quick_started(PyThread_ident_t ident, unsigned ends, bool is_quick);

/* The calling thread joins a thread: if it has started that just now, looks for the end a while. */
void quick_look(PyThread_handle_t handle);

/* The calling thread has joined a thread. */
void quick_joined(PyThread_handle_t handle);

#endif
