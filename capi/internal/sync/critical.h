/* critical.h - the critical sections of the calling thread, for the waits of this library. */
#ifndef CRITICAL_H
#define CRITICAL_H

#include "system/os.h"

#include <stdbool.h>
#include <stdint.h>

/* The newest section, with flags; 0: the thread is in none. Only critical.c changes it. */
extern OS_THREAD_LOCAL uintptr_t critical_newest;

/* Begins and ends a wait, in which the sections of the caller are suspended. */
void critical_unlock_all(void);
void critical_lock_newest(void);

static inline void critical_suspend(void)
{
    if (__builtin_expect(critical_newest != 0, 0)) {
        critical_unlock_all();
    }
}

static inline void critical_resume(void)
{
    if (__builtin_expect(critical_newest != 0, 0)) {
        critical_lock_newest();
    }
}

/* Gives the calling OS thread the sections of another thread, and returns those that it had. 0 are
   the sections of a new thread. */
uintptr_t critical_exchange(uintptr_t sections);

#endif
