/* tss.h - the internal functions of tss.c. */
#ifndef TSS_H
#define TSS_H

#include <stdint.h>

/* Forgets every value of the calling OS thread, so that the next thread on it begins with none.
   Never fails. */
void tss_thread_end(void);

/* The value of the pthread key whose destructor frees the values of an OS thread. */
const void *tss_key_value(void);

/* The values of a thread that is not on an OS thread. All zero: no values. */
struct tss_values {
    void *table;
};

/*
 * Exchanges the values of the calling OS thread with *values, for another thread on the OS thread.
 * A second call must restore the values before the OS thread ends, because the end frees the values
 * that it finds. Never fails.
 */
void tss_swap(struct tss_values *values);

/* Frees *values, which are not on an OS thread. Never fails. */
void tss_drop(struct tss_values *values);

#endif
