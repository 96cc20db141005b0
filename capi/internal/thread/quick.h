/* quick.h - recognizes a thread that starts and joins threads, one directly after the other. */
#ifndef QUICK_H
#define QUICK_H

#include "pythread.h"

#include <stdbool.h>

/* True if the calling thread starts a thread directly after the join of its last one. Each start
   calls this once. */
bool quick_start(void);

/* Notes that the calling thread has started a thread. `ends` is the count of ends_seen before it.
 */
void quick_started(PyThread_ident_t ident, unsigned ends, bool is_quick);

/* Begins a join by the calling thread. Spins for the end, if the caller has just started the
   thread. */
void quick_look(PyThread_handle_t handle);

/* Notes that the calling thread has joined a thread. */
void quick_joined(PyThread_handle_t handle);

#endif
