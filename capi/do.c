/*
 * do.c - how an OS thread takes on the identity of another thread, for Do in do.go.
 *
 * It is C because who the caller is, and what it stores, are variables of the OS thread. Invariant:
 * an identity is in one place, on an OS thread or put aside in a struct, and so are the values that
 * belong to it.
 */
#include "do.h"

#include "os.h"
#include "status.h"

THREAD_LOCAL bool in_do;

void do_exchange(struct do_identity *identity)
{
    bool was_in_do = in_do;
    in_do = identity->in_do;
    identity->in_do = was_in_do;
    identity->ident = status_become(identity->ident);
    tss_swap(&identity->values);
}

bool do_runs(void)
{
    return in_do;
}
