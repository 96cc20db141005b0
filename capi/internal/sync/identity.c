/*
 * identity.c - the identity of the calling OS thread.
 *
 * Invariant: caller_ident is 0, or the ident by which the caller is known.
 *
 * Callers: do.c, do.go, forked.c, lock.c, runner.c, status.c, thread.c, trace.c.
 */
#include "identity.h"

#include "system/fork.h"

OS_THREAD_LOCAL PyThread_ident_t caller_ident;

/* More of the calling OS thread. It is one word if numbers are small, as on Linux with 22 bits. */
#ifdef __linux__
typedef unsigned native_id;
#else
typedef unsigned long long native_id;
#endif
#define LARGEST_ID ((native_id)-1 >> 8)
THREAD_LOCAL struct {
    unsigned epoch; /* of the process in which the kernel gave the number */
    native_id id : sizeof(native_id) * 8 - 8;
    /* In a byte of their own, because a signal handler may set the id meanwhile. */
    struct {
        bool in_do : 1;
        bool is_ours : 1; /* caller_ident is that of a thread of this library */
    };
} native;

void identity_act_for(PyThread_ident_t ident)
{
    caller_ident = ident;
    native.is_ours = ident != 0;
}

PyThread_ident_t identity_find(void)
{
    caller_ident = (PyThread_ident_t)os_self();
    return caller_ident;
}

PyThread_ident_t identity_self(void)
{
    return native.is_ours ? caller_ident : 0;
}

unsigned long identity_native_id(void)
{
    if (native.epoch != fork_epoch()) {
        native.epoch = fork_epoch();
        native.id = os_thread_id() & LARGEST_ID;
    }
    return native.id;
}

bool identity_exchange_in_do(bool in_do)
{
    bool was_in_do = native.in_do;
    native.in_do = in_do;
    return was_in_do;
}

bool identity_is_in_do(void)
{
    return native.in_do;
}
