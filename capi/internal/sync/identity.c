/*
 * identity.c - the identity of the calling OS thread.
 *
 * Invariant: caller_ident is 0, or the ident by which the caller is known.
 *
 * All files of capi may call this. It calls fork.h and os.h.
 */
#include "identity.h"

#include "system/fork.h"

OS_THREAD_LOCAL PyThread_ident_t self_ident, caller_ident;

/* Data of the calling OS thread. It is one word if numbers are small, as on Linux with 22 bits. */
#ifdef __linux__
typedef unsigned native_id;
#else
typedef unsigned long long native_id;
#endif
#define LARGEST_ID ((native_id)-1 >> 1)
THREAD_LOCAL struct {
    unsigned epoch; /* of the process in which the kernel gave the number */
    native_id id : sizeof(native_id) * 8 - 1, in_do : 1;
} native;

void identity_act_for(PyThread_ident_t ident)
{
    self_ident = ident;
    caller_ident = ident;
}

PyThread_ident_t identity_find(void)
{
    caller_ident = self_ident != 0 ? self_ident : (PyThread_ident_t)os_self();
    return caller_ident;
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

PyThread_ident_t identity_current(void)
{
    return self_ident;
}
