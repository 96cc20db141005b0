/*
 * plugin.c - C code that uses CPython's thread functions, as an extension module does. It needs
 * only pythread.h. It does not know which program loads it, or which threads exist.
 */
#include "plugin.h"

static void count(struct counter *counter, int times)
{
    for (int i = 0; i < times; i++) {
        PyThread_acquire_lock(counter->lock, WAIT_LOCK);
        counter->value++;
        PyThread_release_lock(counter->lock);
    }
}

static void count_to_a_thousand(void *counter)
{
    count(counter, 1000);
}

static int start_counting(struct counter *counter, PyThread_handle_t *thread)
{
    PyThread_ident_t ident;
    return PyThread_start_joinable_thread(count_to_a_thousand, counter, &ident, thread) == 0;
}

static Py_tss_t key = Py_tss_NEEDS_INIT;

static void set_name(const char *name)
{
    if (PyThread_tss_create(&key) == 0) {
        PyThread_tss_set(&key, (void *)name);
    }
}

static const char *name(void)
{
    return PyThread_tss_get(&key);
}

const struct plugin plugin = {count, start_counting, PyThread_join_thread, set_name, name};
