/* reuse.h - whether a thread runs on an OS thread that other threads have used. */
#ifndef REUSE_H
#define REUSE_H

#include <stdbool.h>

/* The mode that pythread_set_reuse has set. */
int reuse_mode(void);

/* True where a thread that the caller starts in this mode gets a pthread of its own. */
bool reuse_wants_own_pthread(int mode);

/* Tells that a thread has ended, and whether its OS thread was clean then. */
void reuse_note_end(bool is_clean);

#endif
