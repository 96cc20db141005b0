/*
 * memory.h - memory that is held back for the Go runtime.
 *
 * reserve.c calls this before it lets a start enter Go.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Holds back address space of this size, and what else the runtime asks for. Where the system has
 * no more, what is left of an earlier hold of this size will do if it is enough. False when neither
 * is to be had.
 */
bool memory_hold(size_t size, size_t enough);

/* Gives all that is held back to the system. */
void memory_give_back(void);

/* True while a memory_hold of this size is intact. Takes no mutex. */
bool memory_is_held(size_t size);

/* Resets the hold in the child of a fork: nothing is held back there. */
void memory_after_fork(void);

#endif
