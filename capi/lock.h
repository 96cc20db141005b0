/*
 * lock.h - what Go knows of the locks of lock.c: a lock begins with its word, an atomic 32-bit
 * number, and of a lock that nobody waits for the word is FREE or HELD. Whoever takes it from FREE
 * to HELD in one step has acquired it, from HELD to FREE has released it. In any other state, C has
 * to be asked. Whoever has acquired it says so in its holder: Go code by 0.
 */
#ifndef LOCK_H
#define LOCK_H

#include "pythread.h"

#include <stdbool.h>
#include <stdint.h>

enum { FREE, HELD, CONTENDED, RESERVED };
enum { LOCK_HOLDER_OFFSET = 16 };

/* PyThread_release_lock, but that it returns false where nobody held the lock, and says nothing. */
bool lock_release(PyThread_type_lock lock);

/* Reads who holds the lock at an address, where no lock may be any more. False where nobody does,
   or it cannot be read. May be called in a signal handler. */
bool lock_look(uintptr_t address, PyThread_ident_t *holder);

#endif
