/*
 * pythons.c - finds the functions for mutexes and critical sections of a Python in the process.
 *
 * Invariant: the pointers are set while the library is loaded, and do not change afterwards. So all
 * threads may read them.
 *
 * Callers: critical.c, pylock.c.
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

/* Finds the function with this name. `where` is a handle for dlsym. `function` is the address of a
   pointer, which becomes NULL if there is no such function. */
static void find(void *function, void *where, const char *name)
{
    void *found = dlsym(where, name);
    if (found == NULL) {
        /* Otherwise the program's next dlerror would return this error. The first call takes the
           message, and the second frees its memory. */
        dlerror();
        dlerror();
    }
    memcpy(function, &found, sizeof found);
}

/* Returns the handle of the program, to find the function that the program calls by a name.
   RTLD_DEFAULT would find this library's function first, because Go links with -Bsymbolic. A direct
   call of dlopen would make the linker of a static program warn. So dlopen is found too. */
static void *program(void)
{
    void *(*open)(const char *, int);
    find(&open, RTLD_DEFAULT, "dlopen");
    return open == NULL ? NULL : open(NULL, RTLD_LAZY);
}

__attribute__((constructor)) static void at_load(void)
{
    /* This function is as old as PyMutex. */
    find(&pythons.state, RTLD_DEFAULT, "PyThreadState_GetUnchecked");
    if (pythons.state == NULL) {
        return;
    }
    find(&pythons.save, RTLD_DEFAULT, "PyEval_SaveThread");
    find(&pythons.restore, RTLD_DEFAULT, "PyEval_RestoreThread");
    find(&pythons.lock, RTLD_NEXT, "PyMutex_Lock");
    if (pythons.lock != NULL) {
        find(&pythons.unlock, RTLD_NEXT, "PyMutex_Unlock");
        find(&pythons.begin, RTLD_NEXT, "PyCriticalSection_BeginMutex");
        find(&pythons.end, RTLD_NEXT, "PyCriticalSection_End");
        find(&pythons.begin2, RTLD_NEXT, "PyCriticalSection2_BeginMutex");
        find(&pythons.end2, RTLD_NEXT, "PyCriticalSection2_End");
    } else {
        /* Python was loaded before this library. So the program calls Python's functions. */
        void *handle = program();
        find(&pythons.lock, handle, "PyMutex_Lock");
        find(&pythons.unlock, handle, "PyMutex_Unlock");
    }
}

#endif
