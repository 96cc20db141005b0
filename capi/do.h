/* do.h - an OS thread that for a while runs the calls of another thread than its own. */
#ifndef DO_H
#define DO_H

#include "thread.h"
#include "tss.h"

#include <stdbool.h>

/* What makes an OS thread a certain thread: all that tells one caller from another. */
struct do_identity {
    PyThread_ident_t ident;   /* 0: no thread of ours */
    bool in_do;               /* it runs in a Do of Go's, in no trampoline */
    struct tss_values values; /* those of the thread whose identity this is */
};

/*
 * Exchanges the identity of the calling OS thread with *identity. A second call with the same
 * struct, on the same OS thread, puts everything back.
 */
void do_exchange(struct do_identity *identity);

/* Whether a Do runs on the calling OS thread, which has the identity of its thread then. */
bool do_runs(void);

#endif
