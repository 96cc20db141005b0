/* identity.h - the identity of the calling OS thread. */
#ifndef IDENTITY_H
#define IDENTITY_H

#include "pythread.h"
#include "system/os.h"

#include <stdbool.h>

/* The ident of the thread that the calling OS thread runs; 0: not a thread of this library. */
PyThread_ident_t identity_self(void);

/* The ident of the caller. 0: not known yet, identity_find finds it. This happens once on an
   OS thread that does not run a thread of this library. */
extern OS_THREAD_LOCAL PyThread_ident_t caller_ident;
PyThread_ident_t identity_find(void);

static inline PyThread_ident_t identity_caller(void)
{
    PyThread_ident_t ident = caller_ident;
    return __builtin_expect(ident != 0, 1) ? ident : identity_find();
}

/* The kernel's number for the calling OS thread. The first call in each process is a system call.
 */
unsigned long identity_native_id(void);

/* Whether the calling OS thread is in capi.Do, and so has another thread's identity. The first
   function changes this, and returns the old value. */
bool identity_exchange_in_do(bool in_do);
bool identity_is_in_do(void);

/* Makes the calling OS thread act as a thread that dumps see elsewhere. 0 ends this. */
void identity_act_for(PyThread_ident_t ident);

#endif
