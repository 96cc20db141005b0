/*
 * lock.h - what Go code knows of the locks of lock.c. A lock begins with its word, an atomic 32-bit
 * number. While no thread waits for the lock, the word is FREE or HELD. An atomic change from FREE
 * to HELD acquires the lock, and a change from HELD to FREE releases it. For any other word, Go
 * calls C. The holder of a lock is noted in it; Go code notes 0.
 */
#ifndef LOCK_H
#define LOCK_H

#include "pythread.h"

#include <stdbool.h>
#include <stdint.h>

enum { FREE, HELD, CONTENDED, RESERVED };
enum { LOCK_HOLDER_OFFSET = 16 };

/* Releases a lock. Returns false, without a message, if no thread held it. */
bool lock_release(PyThread_type_lock lock);

/* Reads the holder of the lock at an address, where the lock may be freed already. False if it has
   no holder, or cannot be read. May be called in a signal handler. */
bool lock_look(uintptr_t address, PyThread_ident_t *holder);

#endif
