/*
 * misuse_test.c - mistakes of a program with threads, calls at an odd time, and what comes of
 * it: spent handles by the thousand, locks that their holders leave behind, a process that ends in
 * the middle of everything.
 */
#define _GNU_SOURCE
#include "dump_text.h"
#include "threads.h"

#include <limits.h>
#include <pthread.h>

static atomic_int counter;

/* ------------------------------------------------------------------------ handles */

TEST(a_hundred_thousand_spent_handles_are_refused)
{
    enum { ROUNDS = 1000, AT_ONCE = 100 };
    static PyThread_handle_t spent[ROUNDS][AT_ONCE];
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < AT_ONCE; i++) {
            spent[round][i] = start(nothing, NULL);
        }
        for (int i = 0; i < AT_ONCE; i++) {
            EQ(i % 3 == 0 ? PyThread_detach_thread(spent[round][i])
                          : PyThread_join_thread(spent[round][i]),
               0);
        }
    }
    PyThread_handle_t live = start(nothing, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < AT_ONCE; i++) {
            NE(spent[round][i], live);
            EQ(PyThread_join_thread(spent[round][i]), EINVAL);
            EQ(PyThread_detach_thread(spent[round][i]), EINVAL);
        }
    }
    join(live);
    check_nothing_is_left();
}

/* Guesses at handles that are not given out yet. */
TEST(handles_of_the_future_are_refused)
{
    PyThread_handle_t live = start(nothing, NULL);
    /* A larger step would wrap around to a handle of the past. */
    for (int bit = 0; bit < 62; bit++) {
        for (int more = 1; more < 4; more++) {
            PyThread_handle_t guess = live + ((PyThread_handle_t)more << bit);
            EQ(PyThread_join_thread(guess), ESRCH);
            EQ(PyThread_detach_thread(guess), ESRCH);
        }
    }
    join(live);
    check_nothing_is_left();
}

/* ------------------------------------------------------------------------ any call in any order */

enum { MODEL_THREADS = 200, MODEL_LOCKS = 20 };

/* What the model knows of a handle: there is none, its thread waits at the door, its thread runs,
   it is spent. */
enum model_state { UNUSED, WAITS, RUNS, SPENT };

static struct {
    enum model_state state;
    PyThread_handle_t handle;
    sem_t door;
} model[MODEL_THREADS];

static void model_start(int i, int waits)
{
    if (model[i].state == UNUSED || model[i].state == SPENT) {
        model[i].handle = waits ? start(wait_at_door, &model[i].door) : start(nothing, NULL);
        model[i].state = waits ? WAITS : RUNS;
    }
}

/* Joins or detaches a handle, and checks the result against the model. */
static void model_spend(int i, int detach)
{
    const int error = model[i].state == UNUSED ? ESRCH : model[i].state == SPENT ? EINVAL : 0;
    if (model[i].state == WAITS) {
        EQ(sem_post(&model[i].door), 0);
    }
    EQ(detach ? PyThread_detach_thread(model[i].handle) : PyThread_join_thread(model[i].handle),
       error);
    if (error == 0) {
        model[i].state = SPENT;
    }
    if (detach && error == 0) {
        /* The next thread may use the door only when the detached one has passed it. */
        for (int tries = 0, value = 1; tries < 10000 && value > 0; tries++) {
            EQ(sem_getvalue(&model[i].door, &value), 0);
            sched_yield();
        }
    }
}

TEST(a_hundred_thousand_random_calls_agree_with_a_model)
{
    static PyThread_type_lock locks[MODEL_LOCKS];
    static int held[MODEL_LOCKS];
    uint64_t random = 88172645463325252ULL;
    for (int i = 0; i < MODEL_THREADS; i++) {
        EQ(sem_init(&model[i].door, 0, 0), 0);
    }
    for (int i = 0; i < 100000; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        int thread = (int)(random % MODEL_THREADS), lock = (int)(random % MODEL_LOCKS);
        int flag = (int)(random >> 40) & 1;
        pythread_stats stats;
        size_t handles = 0, waiting = 0;
        switch ((random >> 32) % 10) {
        case 0:
        case 1:
        case 2:
            model_start(thread, flag);
            break;
        case 3:
        case 4:
            model_spend(thread, flag);
            break;
        case 5:
            pythread_get_stats(&stats, sizeof stats);
            for (int j = 0; j < MODEL_THREADS; j++) {
                handles += model[j].state == WAITS || model[j].state == RUNS;
                waiting += model[j].state == WAITS;
            }
            EQ(stats.handles, handles);
            GE(stats.threads, waiting);
            break;
        case 6:
            PyThread_free_lock(locks[lock]);
            locks[lock] = flag ? PyThread_allocate_lock() : NULL;
            held[lock] = locks[lock] == NULL;
            break;
        case 7:
            EQ(PyThread_acquire_lock(locks[lock], NOWAIT_LOCK), !held[lock] && locks[lock] != NULL);
            held[lock] = 1;
            break;
        case 8:
            EQ(PyThread_acquire_lock_timed(locks[lock], flag, flag),
               !held[lock] && locks[lock] != NULL ? PY_LOCK_ACQUIRED : PY_LOCK_FAILURE);
            held[lock] = 1;
            break;
        default:
            if (held[lock] && locks[lock] != NULL) {
                PyThread_release_lock(locks[lock]);
                held[lock] = 0;
            }
        }
    }
    for (int i = 0; i < MODEL_THREADS; i++) {
        model_spend(i, 0);
    }
    for (int i = 0; i < MODEL_LOCKS; i++) {
        PyThread_free_lock(locks[i]);
    }
    check_nothing_is_left();
}

/* ------------------------------------------------------------------------ arguments */

TEST(a_number_that_is_no_mode_of_reuse_is_refused)
{
    const int numbers[] = {-1, INT_MIN, INT_MAX, 3, 256, 65536};
    int usual = pythread_set_reuse(PYTHREAD_REUSE_NEVER);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        EQ(pythread_set_reuse(numbers[i]), -1);
        EQ(pythread_set_reuse(PYTHREAD_REUSE_NEVER), PYTHREAD_REUSE_NEVER);
    }
    pythread_set_reuse(usual);
}

TEST(what_needs_a_python_is_refused_without_one)
{
    PY_TIMEOUT_T nanoseconds = 77;
    EQ_PTR(PyThread_GetInfo(), NULL);
    for (int blocking = -1; blocking <= 1; blocking++) {
        EQ(PyThread_ParseTimeoutArg(NULL, blocking, &nanoseconds), -1);
        EQ(PyThread_ParseTimeoutArg((struct _object *)&nanoseconds, blocking, &nanoseconds), -1);
        EQ(PyThread_ParseTimeoutArg(NULL, blocking, NULL), -1);
        EQ(nanoseconds, 77);
    }
}

/* ------------------------------------------------------------------------ locks left behind */

static void acquire_and_return(void *lock)
{
    EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
}

static void acquire_and_exit(void *lock)
{
    EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
    PyThread_exit_thread();
}

static void release(void *lock)
{
    PyThread_release_lock(lock);
}

TEST(a_lock_outlives_the_thread_that_holds_it)
{
    void (*const holders[])(void *) = {acquire_and_return, acquire_and_exit};
    PyThread_type_lock lock = PyThread_allocate_lock();
    for (int i = 0; i < 1000; i++) {
        join(start(holders[i % 2], lock));
        EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 0);
        EQ(PyThread_acquire_lock_timed(lock, 1, i % 2), PY_LOCK_FAILURE);
        join(start(release, lock));
        EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 1);
        PyThread_release_lock(lock);
    }
    PyThread_free_lock(lock);
    check_nothing_is_left();
}

TEST(a_thread_that_waits_gets_the_lock_of_one_that_ended)
{
    PyThread_type_lock lock = PyThread_allocate_lock();
    join(start(acquire_and_return, lock));
    PyThread_handle_t waiter = start(acquire_and_return, lock);
    check_dump_has("s for lock ");
    join(start(release, lock));
    join(waiter);
    PyThread_free_lock(lock);
    check_nothing_is_left();
}

/* ------------------------------------------------------------------------ the process ends */

static void wait_for_ever(void *lock)
{
    count(&counter);
    PyThread_acquire_lock(lock, WAIT_LOCK);
}

static void start_for_ever(void *arg)
{
    count(&counter);
    for (;;) {
        PyThread_start_new_thread(nothing, NULL);
        PyThread_handle_t handle;
        PyThread_ident_t ident;
        if (PyThread_start_joinable_thread(nothing, arg, &ident, &handle) == 0) {
            PyThread_join_thread(handle);
        }
    }
}

/* Starts threads that wait, and threads that start threads without end. */
static void keep_busy(void)
{
    enum { WAITERS = 20, STARTERS = 4 };
    PyThread_type_lock lock = PyThread_allocate_lock();
    PyThread_acquire_lock(lock, WAIT_LOCK);
    for (int i = 0; i < WAITERS; i++) {
        start(wait_for_ever, lock);
    }
    for (int i = 0; i < STARTERS; i++) {
        start(start_for_ever, NULL);
    }
    wait_for_count(&counter, WAITERS + STARTERS);
}

TEST(the_process_may_end_while_threads_run)
{
    keep_busy();
}

static void end_process(void *arg)
{
    (void)arg;
    exit(0);
}

TEST(a_thread_may_end_the_process)
{
    keep_busy();
    join(start(end_process, NULL));
    CHECK(!"the join came to an end");
}

static void start_at_exit(void)
{
    for (int i = 0; i < 100; i++) {
        join(start(nothing, NULL));
    }
}

TEST(threads_start_while_the_process_ends)
{
    keep_busy();
    atexit(start_at_exit);
}

TEST(the_first_thread_may_start_while_the_process_ends)
{
    atexit(start_at_exit);
}
