/* own_os_thread.h - OS threads that end with their thread. */
#ifndef OWN_OS_THREAD_H
#define OWN_OS_THREAD_H

#include "func.h"
#include "pythread.h"
#include "system/os.h"

#include <pthread.h>

/*
 * Runs func(arg) as the thread `ident` on a new pthread, which inherits from the caller as any
 * pthread does. False if no OS thread or memory is left.
 */
bool own_start(thread_func func, void *arg, PyThread_ident_t ident);

/* Runs function(arg) on a new pthread, which can call Go, blocks signals and acts as the calling
   thread. Waits until the function has returned. False if no OS thread is left. */
bool own_run_elsewhere(void (*function)(void *), void *arg);

/* The same, but where no OS thread is left, waits for one. */
void own_ask_elsewhere(void (*function)(void *), void *arg);

/*
 * Registers the calling OS thread, on which the thread `ident` has ended. own_take_ends reports it
 * after its last destructor has run. Destructors run with the signal mask `mask`. False if no
 * memory or key is left.
 */
bool own_watch_end(PyThread_ident_t ident, os_signals mask);

/*
 * Sets the mask of own_watch_end before destructors run, on an OS thread that Go has ended. If the
 * library is linked without --wrap=pthread_create, it cannot call this. Then destructors of older
 * pthread keys run first, with all signals blocked.
 */
void own_begin_destructors(void);

/*
 * Watches the end of the calling OS thread, which is not Go's. Its last destructors find Go out of
 * reach. After its last destructor the main thread calls own_main_ends, if that is set.
 */
void own_watch_caller(void);
extern void (*own_main_ends)(void);

/* Takes the ends of OS threads that were started or watched here; NULL for none. The caller must
   pop all of them. */
struct end;
struct end *own_take_ends(void);

/* Removes the first of the ends, which are not NULL. Returns the ident of its thread. */
PyThread_ident_t own_pop_end(struct end **taken);

/* Waits until there are ends that no join takes. */
void own_wait_for_ends(void);

#endif
