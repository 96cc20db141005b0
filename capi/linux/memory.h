/* memory.h - memory held back for the Go runtime. */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Has address space of a size be held back, or what is left of it if that is enough, and what else
 * the runtime asks for. False when it is not to be had.
 */
bool memory_hold(size_t size, size_t enough);

/* Holds nothing back any more. */
void memory_give_back(void);

/* Whether it is. */
bool memory_is_held(size_t size);

/* Has the child of a fork begin with nothing held back. */
void memory_after_fork(void);

#endif
