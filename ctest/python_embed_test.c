/*
 * python_embed_test.c - the functions that deal with Python objects, called by a program that
 * embeds Python: before it runs, while it runs and after it has ended. Every wait has an end of its
 * own, so that a lost wake-up fails a case instead of hanging it.
 */
#define _GNU_SOURCE
/* pythread.h comes first: Python.h has to accept that. */
#include "pythread.h"
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

#include "threads.h"

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

/* ------------------------------------------------------------------------ helpers */

static PyObject *evaluate(const char *expression)
{
    PyObject *globals = PyModule_GetDict(PyImport_AddModule("__main__"));
    PyObject *value = PyRun_String(expression, Py_eval_input, globals, globals);
    if (value == NULL) {
        PyErr_Print();
    }
    CHECK(value != NULL);
    return value;
}

static long number(const char *expression)
{
    PyObject *value = evaluate(expression);
    long result = PyLong_AsLong(value);
    Py_DECREF(value);
    return result;
}

static PyThread_type_lock held_lock(void)
{
    PyThread_type_lock lock = PyThread_allocate_lock();
    CHECK(lock != NULL);
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 1);
    return lock;
}

static void check_raised(PyObject *exception)
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

static void helper_run(void *arg)
{
    struct helper *helper = arg;
    do {
        sleep_ms(5);
        helper->step(helper);
    } while (!atomic_load(&helper->done));
}

static void helper_start(struct helper *helper)
{
    helper->target = pthread_self();
    helper->handle = start(helper_run, helper);
}

/* The caller holds the GIL, or there is no Python. */
static void helper_end(struct helper *helper)
{
    atomic_store(&helper->done, true);
    PyThreadState *state = Py_IsInitialized() ? PyEval_SaveThread() : NULL;
    join(helper->handle);
    if (state != NULL) {
        PyEval_RestoreThread(state);
    }
}

/* Sent again and again, since a signal that comes just before the wait does not end it. */
static void send_signal(struct helper *helper)
{
    EQ(pthread_kill(helper->target, SIGUSR1), 0);
}

static void release_once(struct helper *helper)
{
    PyThread_release_lock(helper->lock);
    atomic_store(&helper->done, true);
}

static atomic_int handled;

static void count_signal(int number)
{
    (void)number;
    atomic_fetch_add(&handled, 1);
}

static void catch_signal_in_c(void)
{
    struct sigaction action = {.sa_handler = count_signal};
    EQ(sigaction(SIGUSR1, &action, NULL), 0);
}

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

TEST(without_python_an_interruption_resumes_the_wait)
{
    catch_signal_in_c();
    struct helper helper = {.step = send_signal, .lock = held_lock()};
    helper_start(&helper);
    long long begin = monotonic_ns();
    EQ(PyThread_acquire_lock_timed_with_retries(helper.lock, 200 * ms), PY_LOCK_FAILURE);
    GE(monotonic_ns() - begin, 200 * ms);
    helper_end(&helper);
    GT(atomic_load(&handled), 0);
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
    Py_Initialize();
    for (int i = 0; i < 100; i++) {
        Py_DECREF(PyThread_GetInfo());
    }
    number(blocks);
    long before = number(blocks);
    for (int i = 0; i < 10000; i++) {
        Py_DECREF(PyThread_GetInfo());
    }
    /* A leak of one object in a hundred calls would show. */
    LT(number(blocks) - before, 100);
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

/* ------------------------------------------------------------------------ waits */

static void catch_signal_in_python(const char *handler_body)
{
    char program[256];
    snprintf(program, sizeof program,
             "import signal, threading\n"
             "calls = 0\n"
             "def handler(number, frame):\n"
             "    global calls\n"
             "    calls += 1\n"
             "    %s\n"
             "signal.signal(signal.SIGUSR1, handler)\n",
             handler_body);
    EQ(PyRun_SimpleString(program), 0);
}

TEST(handler_that_raises_ends_the_wait)
{
    Py_Initialize();
    catch_signal_in_python("raise KeyError");
    struct helper helper = {.step = send_signal, .lock = held_lock()};
    static const PY_TIMEOUT_T timeouts[] = {too_long, -1, LLONG_MAX};
    for (int i = 0; i < 3; i++) {
        atomic_store(&helper.done, false);
        helper_start(&helper);
        EQ(PyThread_acquire_lock_timed_with_retries(helper.lock, timeouts[i]), PY_LOCK_INTR);
        check_raised(PyExc_KeyError);
        helper_end(&helper);
        /* Signals may have come after the wait. Their handler runs before any other Python code. */
        PyErr_CheckSignals();
        PyErr_Clear();
    }
}

TEST(handler_that_returns_does_not_end_the_wait)
{
    Py_Initialize();
    catch_signal_in_python("pass");
    struct helper helper = {.step = send_signal, .lock = held_lock()};
    helper_start(&helper);
    long long begin = monotonic_ns();
    EQ(PyThread_acquire_lock_timed_with_retries(helper.lock, 200 * ms), PY_LOCK_FAILURE);
    GE(monotonic_ns() - begin, 200 * ms);
    EQ_PTR(PyErr_Occurred(), NULL);
    helper_end(&helper);
    GT(number("calls"), 0);
}

static PyThread_type_lock pending_lock;

static int pending_release(void *arg)
{
    (void)arg;
    PyThread_release_lock(pending_lock);
    return 0;
}

static int pending_raise(void *arg)
{
    (void)arg;
    PyErr_SetNone(PyExc_KeyError);
    return -1;
}

static void add_release(struct helper *helper)
{
    if (atomic_exchange(&handled, 1) == 0) {
        EQ(Py_AddPendingCall(pending_release, NULL), 0);
    }
    send_signal(helper);
}

static void add_raise(struct helper *helper)
{
    if (atomic_exchange(&handled, 1) == 0) {
        EQ(Py_AddPendingCall(pending_raise, NULL), 0);
    }
    send_signal(helper);
}

TEST(pending_calls_are_served_during_the_wait)
{
    Py_Initialize();
    catch_signal_in_python("pass");
    pending_lock = held_lock();
    struct helper releasing = {.step = add_release}, raising = {.step = add_raise};

    helper_start(&releasing);
    EQ(PyThread_acquire_lock_timed_with_retries(pending_lock, too_long), PY_LOCK_ACQUIRED);
    helper_end(&releasing);

    atomic_store(&handled, 0);
    helper_start(&raising);
    EQ(PyThread_acquire_lock_timed_with_retries(pending_lock, too_long), PY_LOCK_INTR);
    check_raised(PyExc_KeyError);
    helper_end(&raising);
}

TEST(waits_of_any_length_end_with_the_release)
{
    static const PY_TIMEOUT_T timeouts[] = {too_long, -1, LLONG_MIN, LLONG_MAX};
    Py_Initialize();
    for (int i = 0; i < 4; i++) {
        struct helper helper = {.step = release_once, .lock = held_lock()};
        helper_start(&helper);
        EQ(PyThread_acquire_lock_timed_with_retries(helper.lock, timeouts[i]), PY_LOCK_ACQUIRED);
        helper_end(&helper);
        PyThread_free_lock(helper.lock);
    }
}

TEST(wait_never_ends_early)
{
    static const PY_TIMEOUT_T timeouts[] = {1, 999, 1001, 1500001, 30 * 1000000};
    Py_Initialize();
    PyThread_type_lock lock = held_lock();
    for (int i = 0; i < 5; i++) {
        long long begin = monotonic_ns();
        EQ(PyThread_acquire_lock_timed_with_retries(lock, timeouts[i]), PY_LOCK_FAILURE);
        GE(monotonic_ns() - begin, timeouts[i]);
    }
    PyThread_free_lock(lock);
}

/* Releases the lock only after running Python code, which needs the GIL. */
static void release_from_python(struct helper *helper)
{
    PyGILState_STATE state = PyGILState_Ensure();
    EQ(PyRun_SimpleString("progress = sum(range(100000))"), 0);
    PyGILState_Release(state);
    release_once(helper);
}

TEST(the_gil_is_given_up_during_the_wait)
{
    Py_Initialize();
    struct helper helper = {.step = release_from_python, .lock = held_lock()};
    helper_start(&helper);
    EQ(PyThread_acquire_lock_timed_with_retries(helper.lock, too_long), PY_LOCK_ACQUIRED);
    EQ(PyGILState_Check(), 1);
    EQ(number("progress"), 4999950000);
    helper_end(&helper);
}

/* This thread waits for the lock while main sends it signals. */
struct waiter {
    PyThread_type_lock lock;
    pthread_t self;
    atomic_bool started;
    PyLockStatus status;
};

static void waiter_run(void *arg)
{
    struct waiter *waiter = arg;
    PyGILState_STATE state = PyGILState_Ensure();
    waiter->self = pthread_self();
    atomic_store(&waiter->started, true);
    waiter->status = PyThread_acquire_lock_timed_with_retries(waiter->lock, too_long);
    EQ_PTR(PyErr_Occurred(), NULL);
    PyGILState_Release(state);
}

TEST(handlers_run_in_the_main_thread_alone)
{
    Py_Initialize();
    catch_signal_in_python("raise KeyError");
    struct waiter waiter = {.lock = held_lock()};
    PyThread_handle_t handle = start(waiter_run, &waiter);
    PyThreadState *state = PyEval_SaveThread();
    while (!atomic_load(&waiter.started)) {
        sleep_ms(1);
    }
    for (int i = 0; i < 20; i++) {
        sleep_ms(5);
        EQ(pthread_kill(waiter.self, SIGUSR1), 0);
    }
    PyThread_release_lock(waiter.lock);
    join(handle);
    PyEval_RestoreThread(state);
    EQ(waiter.status, PY_LOCK_ACQUIRED);
    EQ(PyErr_CheckSignals(), -1);
    check_raised(PyExc_KeyError);
    EQ(number("calls"), 1);
}
