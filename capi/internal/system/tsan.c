/* tsan.c - the addresses by which ThreadSanitizer is told of starts and ends. */
#include "tsan.h"

uint64_t tsan_start_marks[TSAN_MARKS], tsan_end_marks[TSAN_MARKS];
