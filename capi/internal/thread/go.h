/* go.h - knows whether this process has a Go runtime, and where it may be called. */
#ifndef GO_H
#define GO_H

#include "system/os.h"

#include <stdatomic.h>
#include <stdbool.h>

/* True if the Go runtime runs in this process. */
bool go_is_here(void);

/* True in the child of a fork if the parent had begun to start Go. This process never has Go. */
bool go_is_lost(void);

/* True in a Go program. False in a C program, where Go runs only for this library. */
bool go_is_programs_own(void);

/*
 * Starts Go if it sleeps, and waits until it runs. False if the system refuses Go an OS thread or
 * memory; the next call tries again. It must not be called if go_is_lost.
 */
bool wake_go(void);

/* Notes that Go is about to end the calling OS thread. From now on Go cannot be called there. */
void go_leaves_os_thread(void);

/* Notes that the calling OS thread is Go's. Go can be called there only on its own stack. */
void go_made_os_thread(void);

/* The end of the stack that the caller runs on, if the OS thread is Go's and the stack its own.
   Else 0. */
uintptr_t go_stack_end(void);

/* True if the caller may call Go. */
bool go_is_in_reach(void);

/* True if Go is here, but the caller must not enter it: Go has left the calling OS thread, or the
   caller is on a stack that the program has made. */
bool go_is_out_of_reach(void);

/* Calls func, which does not return, on the OS thread's own stack. If the caller is on another
   stack, all frames on both are lost. */
__attribute__((noreturn)) void go_leave_stack(void (*func)(void));

/* True if the calling OS thread has called Go before. The second one notes that it does so now. */
bool go_knows_os_thread(void);
void go_meets_os_thread(void);

/* ------------------------------------------------------------------------ the library for C */

/*
 * Notes, in a constructor, that Go does not run yet. The start of the first thread calls start,
 * which begins to start Go, and returns false if the system refuses. NULL: Go starts by itself.
 */
void go_sleeps(bool (*start)(void));

/* The epoch of the process that started Go, or is about to. The library for C has one of its own,
   which is 0 from the first instruction of the process on: calls from before Go's constructor find
   no Go. */
extern atomic_uint go_home;

/* Notes that Go runs. */
void go_is_up(void);

/* Notes that the system has refused an OS thread to Go, which does not run yet and tries again. */
void go_was_refused(void);

#endif
