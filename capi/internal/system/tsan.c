/*
 * tsan.c - the addresses by which ThreadSanitizer is told of starts and ends.
 *
 * Callers: critical.c, go_threads.c, lock.c, own_os_thread.c, pylock.c, thread.c, trampoline.c.
 */
#include "tsan.h"

uint64_t tsan_start_marks[TSAN_MARKS], tsan_end_marks[TSAN_MARKS];
