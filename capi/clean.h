/* clean.h - whether a thread has left something on the OS thread that it ran on. */
#ifndef CLEAN_H
#define CLEAN_H

#include <stdbool.h>

/* True where this library can see what a thread leaves. Known once constructors have run. */
bool clean_can_tell(void);

/* Looks where the Go runtime's variable is. The calling OS thread is Go's. */
void clean_find_gos_variable(void);

/* Tells that a thread is about to begin on the calling OS thread. */
void clean_begin(void);

/*
 * True where the calling OS thread is as clean_begin found it: each thread-local variable has its
 * initial value, each pthread key its value, but for one whose value is `ignored`, and no
 * destructor of a C++ object waits for its end.
 */
bool clean_is_clean(const void *ignored);

/* Has the destructors that run when the calling OS thread ends, which Go will end with all signals
   blocked, run with the signal mask that it has now. */
void clean_keep_signal_mask(void);

/*
 * True where a new thread of the calling OS thread would find the processors, nice value and policy
 * that Go's OS threads have, which are those of the process when the library was loaded.
 */
bool clean_has_initial_scheduling(void);

/* Gives the calling OS thread, which is to be Go's, these processors, nice value and policy, where
   the system lets it. Its creator may have had others. */
void clean_restore_scheduling(void);

#endif
