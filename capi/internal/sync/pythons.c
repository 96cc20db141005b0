/*
 * pythons.c - finds a Python's own functions for mutexes and critical sections.
 *
 * Invariant: they are found when this library is loaded, and do not change afterwards.
 */
#define _GNU_SOURCE
#include "pythons.h"

#include <stddef.h>
#include <string.h>
#ifndef _WIN32
#include <dlfcn.h>
#endif

struct pythons pythons;

#ifndef _WIN32

/* Finds the function with this name. *function is a pointer to a function; it gets NULL if there is
   none. */
static void find(void *function, void *where, const char *name)
{
    void *found = dlsym(where, name);
    if (found == NULL) {
        /* The first call returns the message, the second frees it. */
        dlerror();
        dlerror();
    }
    memcpy(function, &found, sizeof found);
}

/* What the program calls by a name. RTLD_DEFAULT would find this library first, as Go links it with
   -Bsymbolic. dlopen is found too, because the linker warns of a call in a static program. */
static void *program(void)
{
    void *(*open)(const char *, int);
    find(&open, RTLD_DEFAULT, "dlopen");
    return open == NULL ? NULL : open(NULL, RTLD_LAZY);
}

__attribute__((constructor)) static void at_load(void)
{
    find(&pythons.state, RTLD_DEFAULT, "PyThreadState_GetUnchecked"); /* as old as PyMutex */
    find(&pythons.save, RTLD_DEFAULT, "PyEval_SaveThread");
    find(&pythons.restore, RTLD_DEFAULT, "PyEval_RestoreThread");
    find(&pythons.lock, RTLD_NEXT, "PyMutex_Lock");
    if (pythons.lock != NULL) {
        find(&pythons.unlock, RTLD_NEXT, "PyMutex_Unlock");
        find(&pythons.begin, RTLD_NEXT, "PyCriticalSection_BeginMutex");
        find(&pythons.end, RTLD_NEXT, "PyCriticalSection_End");
        find(&pythons.begin2, RTLD_NEXT, "PyCriticalSection2_BeginMutex");
        find(&pythons.end2, RTLD_NEXT, "PyCriticalSection2_End");
    } else if (pythons.state != NULL) {
        /* This Python is loaded before, so the program calls its functions. */
        void *handle = program();
        find(&pythons.lock, handle, "PyMutex_Lock");
        find(&pythons.unlock, handle, "PyMutex_Unlock");
    }
}

#endif
