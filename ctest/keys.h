/* keys.h - keys of thread-specific storage, and values for them. For tests. */
#ifndef KEYS_H
#define KEYS_H

#include "pythread.h"
#include "test.h"

/* Returns a different pointer for each number, never NULL. */
static inline void *value(size_t number)
{
    static char somewhere[1];
    return (void *)((uintptr_t)somewhere + 16 * number);
}

static inline Py_tss_t *new_keys(size_t count)
{
    Py_tss_t *keys = calloc(count, sizeof *keys);
    CHECK(keys != NULL);
    for (size_t i = 0; i < count; i++) {
        EQ(PyThread_tss_create(&keys[i]), 0);
    }
    return keys;
}

static inline void delete_keys(Py_tss_t *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        PyThread_tss_delete(&keys[i]);
    }
    free(keys);
}

#endif
