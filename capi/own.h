/* own.h - OS threads that end with the thread on them. */
#ifndef OWN_H
#define OWN_H

#include "thread.h"

/*
 * Runs func(arg) as the thread `ident` on a new pthread, which the caller creates and which so
 * inherits all that a pthread inherits. False where the system has no OS thread or memory left.
 */
bool own_start(thread_func func, void *arg, PyThread_ident_t ident);

/*
 * Has own_next_end tell when the calling OS thread, on which the thread `ident` has ended, has run
 * all destructors of its own. False where the system cannot tell.
 */
bool own_watch_end(PyThread_ident_t ident);

/* Waits for the next end of an OS thread that was started or watched here; its thread's ident. */
PyThread_ident_t own_next_end(void);

#endif
