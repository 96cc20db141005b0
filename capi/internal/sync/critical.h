/* critical.h - critical sections as the waits of the library see them. */
#ifndef CRITICAL_H
#define CRITICAL_H

#include "system/os.h"

#include <stdbool.h>
#include <stdint.h>

/* The newest of the calling thread's critical sections; 0: none. critical.c alone changes it. */
extern OS_THREAD_LOCAL uintptr_t critical_newest;

bool critical_unlock_all(void);
void critical_lock_newest(void);

/*
 * Brackets a wait of the caller. Its sections are suspended for as long as it waits: others may
 * enter them. critical_resume gets what critical_suspend has returned.
 */
static inline bool critical_suspend(void)
{
    return __builtin_expect(critical_newest != 0, 0) && critical_unlock_all();
}

static inline void critical_resume(bool was_suspended)
{
    if (was_suspended) {
        critical_lock_newest();
    }
}

#endif
