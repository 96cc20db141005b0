/* reuse.h - decides whether a thread runs on an OS thread that earlier threads have used. */
#ifndef REUSE_H
#define REUSE_H

#include <stdbool.h>

/* The mode that pythread_set_reuse has set. */
int reuse_mode(void);

/* True if a thread that the caller starts in this mode gets a pthread of its own. */
bool reuse_wants_own_pthread(int mode);

/* Notes the end of a thread, and whether the thread left its OS thread clean. */
void reuse_note_end(bool is_clean);

#endif
