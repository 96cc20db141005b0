/*
 * python_wait_test.c - PyThread_acquire_lock_timed_with_retries in a program that embeds Python: it
 * gives up the GIL, and runs signal handlers and pending calls. Every wait has an end of its own,
 * so that a lost wake-up fails a case instead of hanging it.
 */
#define _GNU_SOURCE
#include "python_embed.h"

#include <limits.h>

static void release_once(struct helper *helper)
{
    PyThread_release_lock(helper->lock);
    atomic_store(&helper->done, true);
}

TEST(without_python_an_interruption_resumes_the_wait)
{
    set_handler(SIGUSR1, count_signal, 0);
    struct helper helper = {.step = send_signal, .lock = held_lock()};
    helper_start(&helper);
    long long begin = monotonic_ns();
    EQ(PyThread_acquire_lock_timed_with_retries(helper.lock, 200 * ms), PY_LOCK_FAILURE);
    GE(monotonic_ns() - begin, 200 * ms);
    helper_end(&helper);
    GT(atomic_load(&handled), 0);
}

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
