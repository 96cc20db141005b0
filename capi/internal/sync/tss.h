/* tss.h - what thread.c asks of tss.c. */
#ifndef TSS_H
#define TSS_H

#include <stdint.h>

/*
 * Forgets every value of the calling OS thread, so that the next PyThread on it
 * begins with none: values belong to the PyThread. Never fails.
 */
void tss_thread_end(void);

/* The value of the pthread key by which an OS thread with values frees them when it ends. */
const void *tss_key_value(void);

/* A thread's values while the thread is on no OS thread; all zero where there are none. */
struct tss_values {
    void *table;
};

/*
 * Exchanges the values of the calling OS thread with *values, so that another thread goes on there
 * with its own. The OS thread may not end before a second call has put its values back: it frees
 * what it finds then. Never fails.
 */
void tss_swap(struct tss_values *values);

/* Forgets *values, which are on no OS thread. Never fails. */
void tss_drop(struct tss_values *values);

#endif
