/* go.h - whether this process has a Go runtime, and where it may be called. */
#ifndef GO_H
#define GO_H

#include "system/os.h"

#include <stdatomic.h>
#include <stdbool.h>

/* True where the Go runtime runs in this process. */
bool go_is_here(void);

/* True in the child of a fork whose parent had begun to start Go: this process never has one. */
bool go_is_lost(void);

/* True in a Go program. False in a C program, where Go runs for this library alone. */
bool go_is_programs_own(void);

/*
 * Starts Go if it sleeps, and waits until it runs. False where the system refuses Go an OS thread
 * or memory; the next call tries again. Not called where go_is_lost.
 */
bool wake_go(void);

/* Tells that Go is about to end the calling OS thread, which makes no more visits. */
void go_leaves_os_thread(void);

/* Tells that the calling OS thread is Go's. Go takes calls on the stack alone that it has there. */
void go_made_os_thread(void);

/* True where the caller may call Go. */
bool go_is_in_reach(void);

/* True where Go is here, but the caller must not enter it: Go has left the calling OS thread, or
   the caller is on a stack of the program's own making. */
bool go_is_out_of_reach(void);

/* True where the calling OS thread has asked this before. The first time Go has yet to meet it. */
bool go_knows_os_thread(void);

/* ------------------------------------------------------------------------ the library for C */

/*
 * Tells, in a constructor, that Go does not run yet. start, called once when the first thread is
 * about to start, begins to start Go; false where the system refuses. NULL: Go has begun by itself.
 */
void go_sleeps(bool (*start)(void));

/* The epoch of the process that started Go, or is about to. The library for C has one of its own,
   which is 0 from the first instruction of the process on: calls from before Go's constructor find
   no Go. */
extern atomic_uint go_home;

/* Tells that Go runs. */
void go_is_up(void);

/* Tells that Go, which has not come up yet, was refused an OS thread, and tries again. */
void go_was_refused(void);

#endif
