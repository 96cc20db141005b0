/*
 * python_embed_test.c - PyThread_GetInfo and PyThread_ParseTimeoutArg, called by a program that
 * embeds Python, and what they answer before Python runs and after it has ended.
 */
#define _GNU_SOURCE
#include "python_embed.h"

#include <limits.h>

/* ------------------------------------------------------------------------ no Python */

static void check_answers_without_python(void)
{
    EQ_PTR(PyThread_GetInfo(), NULL);
    PY_TIMEOUT_T timeout = 12345;
    EQ(PyThread_ParseTimeoutArg(NULL, 1, &timeout), -1);
    EQ(PyThread_ParseTimeoutArg(NULL, 0, &timeout), -1);
    EQ(PyThread_ParseTimeoutArg(NULL, 1, NULL), -1);
    EQ(timeout, 12345);

    PyThread_type_lock lock = PyThread_allocate_lock();
    EQ(PyThread_acquire_lock_timed_with_retries(lock, 0), PY_LOCK_ACQUIRED);
    EQ(PyThread_acquire_lock_timed_with_retries(lock, 0), PY_LOCK_FAILURE);
    long long begin = monotonic_ns();
    EQ(PyThread_acquire_lock_timed_with_retries(lock, 20 * ms), PY_LOCK_FAILURE);
    GE(monotonic_ns() - begin, 20 * ms);
    PyThread_release_lock(lock);
    EQ(PyThread_acquire_lock_timed_with_retries(lock, -1), PY_LOCK_ACQUIRED);
    PyThread_free_lock(lock);
    EQ(PyThread_acquire_lock_timed_with_retries(NULL, too_long), PY_LOCK_FAILURE);
}

TEST(before_python_starts_every_call_answers_at_once)
{
    check_answers_without_python();
}

TEST(after_python_ended_every_call_answers_at_once)
{
    for (int i = 0; i < 2; i++) {
        Py_Initialize();
        Py_XDECREF(PyThread_GetInfo());
        EQ(Py_FinalizeEx(), 0);
        check_answers_without_python();
    }
}

static void thread_without_state(void *arg)
{
    (void)arg;
    check_answers_without_python();
}

TEST(thread_that_is_not_pythons_is_answered_as_without_python)
{
    Py_Initialize();
    PyThread_handle_t handle = start(thread_without_state, NULL);
    /* The caller keeps the GIL, and the other thread must not mistake it for its own. */
    join(handle);
}

TEST(thread_that_gave_up_the_gil_is_answered_as_without_python)
{
    Py_Initialize();
    PyThreadState *state = PyEval_SaveThread();
    check_answers_without_python();
    PyEval_RestoreThread(state);
    CHECK(PyThread_GetInfo() != NULL);
}

/* ------------------------------------------------------------------------ thread info */

static void check_info(void)
{
    PyObject *info = PyThread_GetInfo();
    CHECK(info != NULL);
    EQ(Py_REFCNT(info), 1);
    EQ_STR(Py_TYPE(info)->tp_name, "sys.thread_info");
    EQ_PTR(Py_TYPE(info), Py_TYPE(PySys_GetObject("thread_info")));
    CHECK(PyTuple_Check(info));
    EQ(PyTuple_Size(info), 3);

    static const char *const fields[] = {"name", "lock", "version"};
    char version[64];
    snprintf(version, sizeof version, "libpythread %s", pythread_version());
    const char *expected[] = {"pthread", "semaphore", version};
    for (int i = 0; i < 3; i++) {
        PyObject *field = PyObject_GetAttrString(info, fields[i]);
        EQ_PTR(field, PyTuple_GetItem(info, i));
        EQ_STR(PyUnicode_AsUTF8(field), expected[i]);
        Py_DECREF(field);
    }
    Py_DECREF(info);
}

TEST(info_is_a_sys_thread_info)
{
    Py_Initialize();
    check_info();
    EQ_PTR(PyErr_Occurred(), NULL);
}

TEST(info_outlives_the_loss_of_sys_thread_info)
{
    Py_Initialize();
    EQ(PyRun_SimpleString("import sys; kept = sys.thread_info; del sys.thread_info"), 0);
    PyObject *info = PyThread_GetInfo();
    CHECK(info != NULL);
    PyObject *kept = evaluate("kept");
    EQ_PTR(Py_TYPE(info), Py_TYPE(kept));
    Py_DECREF(kept);
    Py_DECREF(info);
    EQ(Py_FinalizeEx(), 0);
}

TEST(info_leaks_nothing)
{
    static const char blocks[] = "__import__('sys').getallocatedblocks()";
    static const char references[] = "__import__('sys').getrefcount(__import__('sys').thread_info)";
    Py_Initialize();
    for (int i = 0; i < 100; i++) {
        Py_DECREF(PyThread_GetInfo());
    }
    number(blocks);
    number(references);
    long before = number(blocks), references_before = number(references);
    for (int i = 0; i < 10000; i++) {
        Py_DECREF(PyThread_GetInfo());
    }
    /* A leak of one object in a hundred calls would show. */
    LT(number(blocks) - before, 100);
    EQ(number(references), references_before);
}

TEST(info_is_right_in_sub_interpreters_and_later_interpreters)
{
    for (int i = 0; i < 3; i++) {
        Py_Initialize();
        PyThreadState *first = PyThreadState_Get();
        check_info();
        PyThreadState *second = Py_NewInterpreter();
        CHECK(second != NULL);
        check_info();
        Py_EndInterpreter(second);
        PyThreadState_Swap(first);
        check_info();
        EQ(Py_FinalizeEx(), 0);
    }
}

/* Python's object allocator, with one allocation that fails. */
static PyMemAllocatorEx object_allocator;
static long allocations_left = LONG_MAX;

static void *failing_malloc(void *context, size_t size)
{
    return --allocations_left == 0 ? NULL : object_allocator.malloc(context, size);
}

static void *failing_calloc(void *context, size_t count, size_t size)
{
    return --allocations_left == 0 ? NULL : object_allocator.calloc(context, count, size);
}

TEST(info_survives_every_failed_allocation)
{
    Py_Initialize();
    Py_DECREF(PyThread_GetInfo());
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &object_allocator);
    PyMemAllocatorEx failing = object_allocator;
    failing.malloc = failing_malloc;
    failing.calloc = failing_calloc;
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &failing);
    for (long n = 1;; n++) {
        allocations_left = n;
        PyObject *info = PyThread_GetInfo();
        long left = allocations_left;
        allocations_left = LONG_MAX;
        if (left > 0) {
            GT(n, 1);
            CHECK(info != NULL);
            break;
        }
        if (info == NULL) {
            check_raised(PyExc_MemoryError);
        } else {
            Py_DECREF(info);
        }
    }
    check_info();
}

/* ------------------------------------------------------------------------ timeouts */

struct timeout_row {
    const char *argument;
    int blocking;
    PyObject **exception; /* NULL if there is none, but this result */
    PY_TIMEOUT_T nanoseconds;
};

TEST(timeout_argument_is_read_to_the_nanosecond)
{
    const struct timeout_row rows[] = {
        {"None", 1, NULL, PyThread_UNSET_TIMEOUT},
        {"None", 0, NULL, 0},
        {"0", 1, NULL, 0},
        {"-0.0", 1, NULL, 0},
        {"1", 1, NULL, 1000000000},
        {"True", 1, NULL, 1000000000},
        {"1.5", 1, NULL, 1500000000},
        {"1", 7, NULL, 1000000000},
        /* Rounded up to the next nanosecond, never down. */
        {"1e-9", 1, NULL, 1},
        {"1e-10", 1, NULL, 1},
        {"5e-324", 1, NULL, 1},
        {"1.0000000001", 1, NULL, 1000000001},
        {"0.1 + 0.2", 1, NULL, 300000001},
        /* Subclasses of float and int, and __index__. */
        {"type('F', (float,), {'__float__': lambda self: 7.0})(0.25)", 1, NULL, 250000000},
        {"type('I', (int,), {})(3)", 1, NULL, 3000000000},
        {"type('X', (), {'__index__': lambda self: 2})()", 1, NULL, 2000000000},
        /* The longest, as an int and as the last float below 2**63 nanoseconds. */
        {"9223372036", 1, NULL, 9223372036000000000},
        {"9223372036.854774", 1, NULL, 9223372036854774784},
        {"9223372037", 1, &PyExc_OverflowError, 0},
        {"9223372036.854777", 1, &PyExc_OverflowError, 0},
        {"2**63", 1, &PyExc_OverflowError, 0},
        {"10**30", 1, &PyExc_OverflowError, 0},
        {"1e300", 1, &PyExc_OverflowError, 0},
        {"float('inf')", 1, &PyExc_OverflowError, 0},
        {"float('-inf')", 1, &PyExc_OverflowError, 0},
        {"-10**30", 1, &PyExc_OverflowError, 0},
        {"-1e300", 1, &PyExc_OverflowError, 0},
        {"float('nan')", 1, &PyExc_ValueError, 0},
        {"-1", 1, &PyExc_ValueError, 0},
        {"-1.0", 1, &PyExc_ValueError, 0},
        {"-1e-12", 1, &PyExc_ValueError, 0},
        {"-5e-324", 1, &PyExc_ValueError, 0},
        {"0", 0, &PyExc_ValueError, 0},
        {"1.0", 0, &PyExc_ValueError, 0},
        {"'1'", 0, &PyExc_ValueError, 0},
        {"'1'", 1, &PyExc_TypeError, 0},
        {"b''", 1, &PyExc_TypeError, 0},
        {"object()", 1, &PyExc_TypeError, 0},
        {"1j", 1, &PyExc_TypeError, 0},
        {"type('F', (), {'__float__': lambda self: 2.0})()", 1, &PyExc_TypeError, 0},
        {"type('X', (), {'__index__': lambda self: 1 // 0})()", 1, &PyExc_ZeroDivisionError, 0},
    };
    Py_Initialize();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct timeout_row *row = &rows[i];
        fprintf(stderr, "%s, blocking %d\n", row->argument, row->blocking);
        PyObject *argument = evaluate(row->argument);
        Py_ssize_t references = Py_REFCNT(argument);
        PY_TIMEOUT_T nanoseconds = 12345;
        int result = PyThread_ParseTimeoutArg(argument, row->blocking, &nanoseconds);
        if (row->exception == NULL) {
            EQ(result, 0);
            EQ_PTR(PyErr_Occurred(), NULL);
            EQ(nanoseconds, row->nanoseconds);
        } else {
            EQ(result, -1);
            check_raised(*row->exception);
            EQ(nanoseconds, 12345);
        }
        EQ(Py_REFCNT(argument), references);
        Py_DECREF(argument);
    }
    PY_TIMEOUT_T nanoseconds;
    EQ(PyThread_ParseTimeoutArg(NULL, 1, &nanoseconds), 0);
    EQ(nanoseconds, PyThread_UNSET_TIMEOUT);
    EQ(PyThread_ParseTimeoutArg(NULL, 0, &nanoseconds), 0);
    EQ(nanoseconds, 0);
    EQ(PyThread_ParseTimeoutArg(Py_None, 1, NULL), -1);
    EQ_PTR(PyErr_Occurred(), NULL);
}
