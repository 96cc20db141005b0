/* own_os_thread.h - OS threads that end with the thread on them. */
#ifndef OWN_OS_THREAD_H
#define OWN_OS_THREAD_H

#include "func.h"
#include "pythread.h"
#include "system/os.h"

#include <pthread.h>

/*
 * Runs func(arg) as the thread `ident` on a new pthread, which the caller creates and which so
 * inherits all that a pthread inherits. False where the system has no OS thread or memory left.
 */
bool own_start(thread_func func, void *arg, PyThread_ident_t ident);

/* Runs function(arg) on a pthread that blocks signals, as the thread `ident`, and waits for that.
   False where the system has no OS thread left. */
bool own_run_elsewhere(void (*function)(void *), void *arg, PyThread_ident_t ident);

/* Runs function(arg), in the name of the calling thread, on an OS thread where Go is in reach. */
void own_ask_elsewhere(void (*function)(void *), void *arg);

/*
 * Has own_take_ends tell when the calling OS thread, on which the thread `ident` has ended, has run
 * all destructors of its own, with this signal mask. False where the system cannot tell.
 */
bool own_watch_end(PyThread_ident_t ident, os_signals mask);

/*
 * Sets that mask, on an OS thread that Go has ended, before destructors run. Where the library does
 * not see that moment, the destructors of pthread keys that are older than the library's run first,
 * and all signals are blocked.
 */
void own_begin_destructors(void);

/*
 * Has own_main_ends, if one is set, called when the calling OS thread, the process's main thread,
 * has run all its destructors, also those that end a thread on it.
 */
void own_watch_main(void);
extern void (*own_main_ends)(void);

/* The ends of OS threads that were started or watched here, and that Go has not taken yet; NULL for
   none. The caller pops all of them. */
struct end;
struct end *own_take_ends(void);

/* Takes one off, which is not NULL; its thread's ident. */
PyThread_ident_t own_pop_end(struct end **taken);

/* Waits until there are ends that no join takes. */
void own_wait_for_ends(void);

#endif
