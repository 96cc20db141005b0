/* plain.h - threads on plain pthreads, for processes that must not enter Go. */
#ifndef PLAIN_H
#define PLAIN_H

#include "thread.h"

/* Like the PyThread_ functions with these names. An ident is also a handle. 0: the start failed. */
PyThread_ident_t plain_start(thread_func func, void *arg, bool joinable);
int plain_join(PyThread_handle_t handle, PyThread_ident_t joiner);
int plain_detach(PyThread_handle_t handle);

/* Notes an ident that Go gave to a thread. Later idents here are higher. */
void plain_count_from(PyThread_ident_t ident);

/* Adds the thread that forked this process, its only one yet. It can be joined here. */
void plain_survive(PyThread_ident_t ident);

/* Ends the thread that forked this process. It began on an OS thread of Go. */
void plain_end(PyThread_ident_t ident);

/* Counts the threads that have not ended, and the handles that are not spent. */
void plain_count(size_t *threads, size_t *handles);

#endif
