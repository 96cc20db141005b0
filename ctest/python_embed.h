/*
 * python_embed.h - a program that embeds Python: expressions, locks and signals.
 */
#ifndef PYTHON_EMBED_H
#define PYTHON_EMBED_H

/* pythread.h comes first: Python.h has to accept that. */
#include "pythread.h"
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "signals.h"
#include "threads.h"

#include <stdbool.h>

static const long long ms = 1000000;
/* Longer than any wait that ends as it should. */
static const long long too_long = 60000000000;

#if UNDER_ASAN
/* The interpreter does not free everything when it ends. The cases count leaks themselves. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}
#endif

static inline PyObject *evaluate(const char *expression)
{
    PyObject *globals = PyModule_GetDict(PyImport_AddModule("__main__"));
    PyObject *value = PyRun_String(expression, Py_eval_input, globals, globals);
    if (value == NULL) {
        PyErr_Print();
    }
    CHECK(value != NULL);
    return value;
}

static inline long number(const char *expression)
{
    PyObject *value = evaluate(expression);
    long result = PyLong_AsLong(value);
    Py_DECREF(value);
    return result;
}

static inline PyThread_type_lock held_lock(void)
{
    PyThread_type_lock lock = PyThread_allocate_lock();
    CHECK(lock != NULL);
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 1);
    return lock;
}

static inline void check_raised(PyObject *exception)
{
    CHECK(PyErr_ExceptionMatches(exception));
    PyErr_Clear();
}

/* A thread that does something to another one, which waits. */
struct helper {
    PyThread_handle_t handle;
    void (*step)(struct helper *); /* every 5 ms, until done */
    atomic_bool done;
    pthread_t target;
    PyThread_type_lock lock;
};

static inline void helper_run(void *arg)
{
    struct helper *helper = arg;
    do {
        sleep_ms(5);
        helper->step(helper);
    } while (!atomic_load(&helper->done));
}

static inline void helper_start(struct helper *helper)
{
    helper->target = pthread_self();
    helper->handle = start(helper_run, helper);
}

/* The caller holds the GIL, or Python does not run. */
static inline void helper_end(struct helper *helper)
{
    atomic_store(&helper->done, true);
    PyThreadState *state = Py_IsInitialized() ? PyEval_SaveThread() : NULL;
    join(helper->handle);
    if (state != NULL) {
        PyEval_RestoreThread(state);
    }
}

/* This sends signals repeatedly, because a signal just before the wait does not end it. */
static inline void send_signal(struct helper *helper)
{
    EQ(pthread_kill(helper->target, SIGUSR1), 0);
}

static atomic_int handled;

static inline void count_signal(int number)
{
    (void)number;
    atomic_fetch_add(&handled, 1);
}

#endif
