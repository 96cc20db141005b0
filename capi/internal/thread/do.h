/* do.h - gives an OS thread the identity of another thread for a while. */
#ifndef DO_H
#define DO_H

#include "pythread.h"
#include "sync/tss.h"

#include <stdbool.h>

/* The identity of a thread, as C code sees it. */
struct do_identity {
    PyThread_ident_t ident;   /* 0: not a thread of this library */
    bool in_do;               /* the thread is in capi.Do, not in a trampoline */
    struct tss_values values; /* the thread's values in thread-specific storage */
    uintptr_t sections;       /* its critical sections (critical.h) */
};

/*
 * Exchanges the identity of the calling OS thread with *identity. A second call with the same
 * struct, on the same OS thread, restores both.
 */
void do_exchange(struct do_identity *identity);

#endif
