/* clean.h - finds out whether a thread has left something on its OS thread. */
#ifndef CLEAN_H
#define CLEAN_H

#include <stdbool.h>
#include <stdint.h>

/* True if this library can see what a thread leaves. Known after constructors have run. */
bool clean_can_tell(void);

/* Finds the place of the Go runtime's variable. The calling OS thread is Go's. */
void clean_find_gos_variable(void);

/* The state of an OS thread when a thread began on it. All zero: no thread has begun. */
struct clean_mark {
    uint64_t variables; /* a hash of the thread-local variables, never 0 */
    uint32_t keys;      /* a bit for each of the first keys that has a value */
};

/* Notes the state of the calling OS thread, which malloc knows, before a thread begins on it. */
void clean_begin(struct clean_mark *mark);

/* Calls the destructors of the thread's C++ objects, as the end of a pthread does. */
void clean_run_destructors(void);

/*
 * True if the calling OS thread has the state that clean_begin noted: no other pthread key has a
 * value, except one whose value is `ignored`; the static area of thread-local variables has the
 * same values; and no destructor of a C++ object waits for the end of the OS thread. Blocks of
 * thread-local variables do not count.
 */
bool clean_is_clean(const struct clean_mark *mark, const void *ignored);

/*
 * Frees the blocks of thread-local variables of the thread, which belong to modules that dlopen
 * loads. The thread has ended, none of its handlers runs, and clean_is_clean is true.
 */
void clean_drop_blocks(void);

/*
 * True if the calling OS thread has the initial processors, nice value and policy: those of the
 * process when the library was loaded, which Go's OS threads have too.
 */
bool clean_has_initial_scheduling(void);

/* Gives the calling OS thread, which will be Go's, the initial processors, nice value and policy,
   if the system allows it. Its creator may have others. */
void clean_restore_scheduling(void);

/* True if the system has refused this once. Then an OS thread of Go may have, for example, another
   nice value than a thread must have. */
bool clean_scheduling_is_mixed(void);

#endif
