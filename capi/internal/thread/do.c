/*
 * do.c - gives an OS thread the identity of another thread, for Do in do.go.
 *
 * An identity is in thread-local variables: the ident, the values in thread-specific storage, and
 * the critical sections.
 * Invariant: each identity is in one place, on an OS thread or in a struct, with its values.
 *
 * Callers: do.go.
 */
#include "do.h"

#include "sync/critical.h"
#include "sync/identity.h"
#include "sync/status.h"

void do_exchange(struct do_identity *identity)
{
    identity->in_do = identity_exchange_in_do(identity->in_do);
    identity->ident = status_become(identity->ident);
    tss_swap(&identity->values);
    identity->sections = critical_exchange(identity->sections);
}
