/*
 * loading_plugin.c - a plugin that uses the library, which its program may not
 * know. It is built twice, and loaded by loading_test.c.
 */
#include "pythread.h"

#include <stddef.h>

/* Starts and joins a thread. Its ident, or 0. */
PYTHREAD_API unsigned long long plugin_run(void (*func)(void *), void *arg);

/* What this plugin takes for the library. */
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
