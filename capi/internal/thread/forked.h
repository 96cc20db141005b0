/* forked.h - threads on plain pthreads, for processes that must not enter Go. */
#ifndef FORKED_H
#define FORKED_H

#include "func.h"
#include "pythread.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Like the PyThread_ functions with these names. An ident is also a handle. 0: the start failed. */
PyThread_ident_t forked_start(thread_func func, void *arg, bool joinable);
int forked_join(PyThread_handle_t handle, PyThread_ident_t joiner);
int forked_detach(PyThread_handle_t handle);

/* The newest ident of a thread of this process. Go raises it too. */
extern atomic_ullong forked_newest_ident;

/* Notes the ident that Go gave to a thread, before the thread starts. Later idents here are higher.
 */
void forked_count_from(PyThread_ident_t ident);

/* Ends the thread that forked this process. It began on an OS thread of Go. */
void forked_end(PyThread_ident_t ident);

/* Counts the threads that have not ended, and the handles that are not spent. */
void forked_count(size_t *threads, size_t *handles);

#endif
