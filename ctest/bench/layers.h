/*
 * layers.h - what the benchmarks measure: thread layers, and single parts of one, each behind the
 * functions that it has.
 */
#ifndef LAYERS_H
#define LAYERS_H

#include "pythread.h"

/* A layer has what is not NULL. */
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

/* The layer of this name; one that is in a library is loaded from that file. */
struct layer layer_named(const char *name, const char *library);

__attribute__((noreturn)) void fail(const char *what);

#endif
