/*
 * pythons.c - finds a Python's own functions for mutexes and critical sections.
 *
 * Invariant: they are found before other threads exist, and do not change afterwards.
 */
#define _GNU_SOURCE
#include "pythons.h"

#include <string.h>
#ifndef _WIN32
#include <dlfcn.h>
#endif

struct pythons pythons;

#ifndef _WIN32

/* Finds the function with this name in what is loaded after this library. *function is a pointer to
   a function; it gets NULL if there is none. */
static void find(void *function, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) {
        /* The first call returns the message, the second frees it. */
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
