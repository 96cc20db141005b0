/*
 * loading.h - the library's functions as dlopen and dlsym find them, in a program that is not
 * linked with it. PYTHREAD_LIBRARY in the environment says where the library is.
 */
#ifndef LOADING_H
#define LOADING_H

#include "process.h"
#include "threads.h"

#include <dlfcn.h>
#include <pthread.h>

/* The library's functions, as dlsym finds them. */
struct api {
    void *handle;
    __typeof__(PyThread_start_joinable_thread) *start;
    __typeof__(PyThread_join_thread) *join;
    __typeof__(PyThread_get_thread_ident_ex) *ident;
    __typeof__(PyThread_get_thread_native_id) *native_id;
    __typeof__(PyThread_exit_thread) *exit;
    __typeof__(PyThread_allocate_lock) *allocate_lock;
    __typeof__(PyThread_free_lock) *free_lock;
    __typeof__(PyThread_acquire_lock) *acquire_lock;
    __typeof__(PyThread_release_lock) *release_lock;
    __typeof__(PyThread_tss_create) *tss_create;
    __typeof__(PyThread_tss_set) *tss_set;
    __typeof__(PyThread_tss_get) *tss_get;
    __typeof__(PyThread_tss_delete) *tss_delete;
    __typeof__(pythread_get_stats) *get_stats;
    __typeof__(pythread_set_reuse) *set_reuse;
    __typeof__(pythread_get_reuse) *get_reuse;
};

static const char *path(void)
{
    const char *set = getenv("PYTHREAD_LIBRARY");
    if (set == NULL) {
        test_skip("PYTHREAD_LIBRARY is not set");
    }
    return set;
}

static inline void find(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    if (found == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        test_fail();
    }
    memcpy(function, &found, sizeof found);
}

static inline struct api load(int flags)
{
    struct api api = {.handle = dlopen(path(), flags)};
    if (api.handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        test_fail();
    }
    find(api.handle, "PyThread_start_joinable_thread", &api.start);
    find(api.handle, "PyThread_join_thread", &api.join);
    find(api.handle, "PyThread_get_thread_ident_ex", &api.ident);
    find(api.handle, "PyThread_get_thread_native_id", &api.native_id);
    find(api.handle, "PyThread_exit_thread", &api.exit);
    find(api.handle, "PyThread_allocate_lock", &api.allocate_lock);
    find(api.handle, "PyThread_free_lock", &api.free_lock);
    find(api.handle, "PyThread_acquire_lock", &api.acquire_lock);
    find(api.handle, "PyThread_release_lock", &api.release_lock);
    find(api.handle, "PyThread_tss_create", &api.tss_create);
    find(api.handle, "PyThread_tss_set", &api.tss_set);
    find(api.handle, "PyThread_tss_get", &api.tss_get);
    find(api.handle, "PyThread_tss_delete", &api.tss_delete);
    find(api.handle, "pythread_get_stats", &api.get_stats);
    find(api.handle, "pythread_set_reuse", &api.set_reuse);
    find(api.handle, "pythread_get_reuse", &api.get_reuse);
    return api;
}

static inline void check_not_loaded(void)
{
    EQ_PTR(dlopen(path(), RTLD_NOW | RTLD_NOLOAD), NULL);
}

/* Runs func in a process of its own, into which the library was never loaded. */
static inline void in_child(void (*func)(int), int arg)
{
    check_not_loaded();
    pid_t child = fork_mortal();
    if (child == 0) {
        func(arg);
        exit(0);
    }
    reap(child, 0);
}

/* ------------------------------------------------------------------------ use of the library */

struct use {
    const struct api *api;
    PyThread_type_lock lock;
    PyThread_ident_t inside;
    Py_tss_t key;
    int value;
};

static inline void use_in_thread(void *arg)
{
    struct use *use = arg;
    EQ(use->api->acquire_lock(use->lock, WAIT_LOCK), 1);
    use->inside = use->api->ident();
    EQ_PTR(use->api->tss_get(&use->key), NULL);
    EQ(use->api->tss_set(&use->key, use), 0);
    EQ_PTR(use->api->tss_get(&use->key), use);
    NE(use->api->native_id(), 0);
    use->value++;
    use->api->release_lock(use->lock);
    if (use->value % 2 == 0) {
        use->api->exit();
    }
}

static inline void use_library(const struct api *api)
{
    struct use use = {.api = api, .lock = api->allocate_lock(), .key = Py_tss_NEEDS_INIT};
    EQ(api->tss_create(&use.key), 0);
    EQ(api->tss_set(&use.key, &use.value), 0);
    for (int i = 1; i <= 20; i++) {
        PyThread_ident_t ident;
        PyThread_handle_t handle;
        api->set_reuse(i % 4 == 0 ? PYTHREAD_REUSE_NEVER : PYTHREAD_REUSE_ALWAYS);
        EQ(api->start(use_in_thread, &use, &ident, &handle), 0);
        EQ(api->join(handle), 0);
        EQ(api->join(handle), EINVAL);
        EQ(use.inside, ident);
        EQ(use.value, i);
    }
    EQ_PTR(api->tss_get(&use.key), &use.value);
    EQ(api->ident(), (PyThread_ident_t)pthread_self());
    api->set_reuse(PYTHREAD_REUSE_ALWAYS);
    api->tss_delete(&use.key);
    api->free_lock(use.lock);
}

#endif
