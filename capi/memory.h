/* memory.h - memory held back for the Go runtime. */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Has so much address space be held back, and what else the runtime asks for. False when it is not
   to be had. */
bool memory_hold(size_t size);

/* Whether it is. */
bool memory_is_held(size_t size);

/* Has the child of a fork begin with nothing held back. */
void memory_after_fork(void);

#endif
