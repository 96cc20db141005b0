/* critical.h - suspends the caller's critical sections while the caller waits in this library. */
#ifndef CRITICAL_H
#define CRITICAL_H

#include "system/os.h"

#include <stdbool.h>
#include <stdint.h>

/* The link to the newest section (see critical.c); 0: the thread is in no section. Only critical.c
   changes it. */
extern OS_THREAD_LOCAL uintptr_t critical_newest;

/* The parts of critical_suspend and critical_resume for a caller that is in a section. */
void critical_unlock_all(void);
void critical_lock_newest(void);

/* Begins a wait: unlocks the mutexes of all sections. */
static inline void critical_suspend(void)
{
    if (__builtin_expect(critical_newest != 0, 0)) {
        critical_unlock_all();
    }
}

/* Ends a wait: locks the mutexes of the newest section, and waits until they are free. */
static inline void critical_resume(void)
{
    if (__builtin_expect(critical_newest != 0, 0)) {
        critical_lock_newest();
    }
}

/* Gives the calling OS thread the sections of another thread, and returns its old sections. The
   argument is a link to the newest section, and 0 for a new thread. */
uintptr_t critical_exchange(uintptr_t newest);

#endif
