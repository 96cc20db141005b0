/*
 * lock.h - what Go knows of the locks of lock.c: a lock begins with its word, an atomic 32-bit
 * number, and of a lock that nobody waits for the word is FREE or HELD. Whoever takes it from FREE
 * to HELD in one step has acquired it, from HELD to FREE has released it. In any other state, C has
 * to be asked.
 */
#ifndef LOCK_H
#define LOCK_H

#include "pythread.h"

#include <stdbool.h>

enum { FREE, HELD, CONTENDED, RESERVED };

/* PyThread_release_lock, but that it returns false where nobody held the lock, and says nothing. */
bool lock_release(PyThread_type_lock lock);

#endif
