/* tss.h - what thread.c asks of tss.c. */
#ifndef TSS_H
#define TSS_H

/*
 * Forgets every value of the calling OS thread, so that the next PyThread on it
 * begins with none: values belong to the PyThread. Never fails.
 */
void tss_thread_end(void);

/* The value of the pthread key by which an OS thread with many values frees them when it ends. */
const void *tss_key_value(void);

#endif
