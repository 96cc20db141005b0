/*
 * loading_plugin.c - a plugin that uses the library. Its program need not know the library. It is
 * built twice, and loading_test.c loads both.
 */
#include "pythread.h"

#include <stddef.h>

/* Starts and joins a thread. Returns its ident, or 0. */
PYTHREAD_API unsigned long long plugin_run(void (*func)(void *), void *arg);

/* An address inside the library that this plugin uses. */
PYTHREAD_API const void *plugin_library(void);

PYTHREAD_API int plugin_set(Py_tss_t *key, void *value);

unsigned long long plugin_run(void (*func)(void *), void *arg)
{
    PyThread_ident_t ident;
    PyThread_handle_t handle;
    if (PyThread_start_joinable_thread(func, arg, &ident, &handle) != 0 ||
        PyThread_join_thread(handle) != 0) {
        return 0;
    }
    return ident;
}

const void *plugin_library(void)
{
    return &PY_TIMEOUT_MAX;
}

int plugin_set(Py_tss_t *key, void *value)
{
    return PyThread_tss_create(key) != 0 ? -1 : PyThread_tss_set(key, value);
}
