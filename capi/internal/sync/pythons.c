/*
 * pythons.c - finds the functions for mutexes and critical sections of a Python in the process.
 *
 * Invariant: the pointers are set while the library is loaded, and do not change afterwards. So all
 * threads may read them.
 */
#define _GNU_SOURCE
#include "pythons.h"

#include <string.h>
#ifndef _WIN32
#include <dlfcn.h>
#endif

struct pythons pythons;

#ifndef _WIN32

/* Finds the function with this name in the libraries that come after this one in the search order.
   `function` is the address of a pointer, which becomes NULL if there is no such function. */
static void find(void *function, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) {
        /* Otherwise the program's next dlerror would return this error. The first call takes the
           message, and the second frees its memory. */
        dlerror();
        dlerror();
    }
    memcpy(function, &found, sizeof found);
}

__attribute__((constructor)) static void at_load(void)
{
    find(&pythons.lock, "PyMutex_Lock");
    if (pythons.lock != NULL) {
        find(&pythons.unlock, "PyMutex_Unlock");
        find(&pythons.begin, "PyCriticalSection_BeginMutex");
        find(&pythons.end, "PyCriticalSection_End");
        find(&pythons.begin2, "PyCriticalSection2_BeginMutex");
        find(&pythons.end2, "PyCriticalSection2_End");
    }
}

#endif
