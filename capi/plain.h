/* plain.h - threads on plain pthreads, for processes that must not enter Go. */
#ifndef PLAIN_H
#define PLAIN_H

#include "thread.h"

/* As the PyThread_ functions of these names; an ident is also a handle, and 0 is a failed start. */
PyThread_ident_t plain_start(thread_func func, void *arg, bool joinable);
int plain_join(PyThread_handle_t handle, PyThread_ident_t joiner);
int plain_detach(PyThread_handle_t handle);

/* Tells of an ident that Go gave to a thread: those here come after it. */
void plain_count_from(PyThread_ident_t ident);

/* Adds the thread that forked this process, which has no other yet; it can be joined here. */
void plain_survive(PyThread_ident_t ident);

/* Ends the thread that forked this process, which began on an OS thread of Go's. */
void plain_end(PyThread_ident_t ident);

/* How many threads have not ended, and how many handles are not spent. */
void plain_count(size_t *threads, size_t *handles);

#endif
