/* clean.h - whether a thread has left something on the OS thread that it ran on. */
#ifndef CLEAN_H
#define CLEAN_H

#include <stdbool.h>
#include <stdint.h>

/* True where this library can see what a thread leaves. Known once constructors have run. */
bool clean_can_tell(void);

/* Looks where the Go runtime's variable is. The calling OS thread is Go's. */
void clean_find_gos_variable(void);

/* How an OS thread was when a thread began on it; all zero where none has. */
struct clean_mark {
    uint64_t variables; /* a hash of them, never 0 */
    uint32_t keys;      /* a bit for each of the first keys that had a value */
};

/* Tells that a thread is about to begin on the calling OS thread, which malloc knows. */
void clean_begin(struct clean_mark *mark);

/* Calls the destructors of the C++ objects that the thread has, as when a pthread ends. */
void clean_run_destructors(void);

/*
 * True where the calling OS thread is as clean_begin marked it, but for blocks of thread-local
 * variables: no pthread key has got a value, but for one whose value is `ignored`, the other
 * thread-local variables have the values that they had, and no destructor of a C++ object waits for
 * the end of the OS thread.
 */
bool clean_is_clean(const struct clean_mark *mark, const void *ignored);

/*
 * Drops the blocks of thread-local variables that the thread has used, those of modules that dlopen
 * loads. The thread's code does not run any more, nor on its signal stack, and nothing else that it
 * had remains: clean_is_clean.
 */
void clean_drop_blocks(void);

/*
 * True where a new thread of the calling OS thread would find the processors, nice value and policy
 * that Go's OS threads have, which are those of the process when the library was loaded.
 */
bool clean_has_initial_scheduling(void);

/* Gives the calling OS thread, which is to be Go's, these processors, nice value and policy, where
   the system lets it. Its creator may have had others. */
void clean_restore_scheduling(void);

/* True where the system once did not let it: some OS threads of Go's have another nice value, say,
   than a thread is to have. */
bool clean_scheduling_is_mixed(void);

#endif
