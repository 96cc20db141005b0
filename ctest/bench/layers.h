/*
 * layers.h - the thread layers that the benchmarks measure, and parts of such layers, as tables of
 * functions.
 */
#ifndef LAYERS_H
#define LAYERS_H

#include "pythread.h"

/* A function that the layer does not have is NULL. */
struct layer {
    int (*start)(void (*)(void *), void *, PyThread_ident_t *, PyThread_handle_t *);
    int (*join)(PyThread_handle_t);
    void *(*allocate_lock)(void);
    void (*free_lock)(void *);
    int (*acquire_lock)(void *, int);
    void (*release_lock)(void *);
    int (*tss_create)(Py_tss_t *);
    void (*tss_delete)(Py_tss_t *);
    int (*tss_set)(Py_tss_t *, void *);
    void *(*tss_get)(Py_tss_t *);
    unsigned long (*ident)(void);
    unsigned long (*native_id)(void);
};

/* Returns the layer with this name. If it is a library's, the file is loaded. */
struct layer layer_named(const char *name, const char *library);

__attribute__((noreturn)) void fail(const char *what);

#endif
