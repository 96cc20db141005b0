/*
 * forks.h - a parent whose threads do all kinds of things while it forks (open_scene, close_scene),
 * and the checks of a child: it must have the whole library.
 */
#ifndef FORKS_H
#define FORKS_H

#include "process.h"
#include "threads.h"

#include <stdbool.h>
#include <sys/syscall.h>

/* ------------------------------------------------------------------------ the parent's threads */

/* The threads that run in the parent when it forks. */
enum { WAITERS = 3, STARTERS = 2, THREADS = 2 + 3 * WAITERS + STARTERS };
static PyThread_handle_t threads[THREADS];
/* A thread holds `theirs`, the thread that forks holds `mine`, and others wait for both. */
static PyThread_type_lock theirs, mine;
static Py_tss_t key = Py_tss_NEEDS_INIT;
static atomic_bool closing;
static atomic_int ready, done;

static inline void hold_theirs(void *arg)
{
    (void)arg;
    EQ(PyThread_tss_set(&key, &theirs), 0);
    EQ(PyThread_acquire_lock(theirs, WAIT_LOCK), 1);
    count(&ready);
    while (!atomic_load(&closing)) {
        sleep_ms(1);
    }
    EQ_PTR(PyThread_tss_get(&key), &theirs);
    PyThread_release_lock(theirs);
    count(&done);
}

static inline void wait_for_lock(void *lock)
{
    count(&ready);
    EQ(PyThread_acquire_lock(*(PyThread_type_lock *)lock, WAIT_LOCK), 1);
    PyThread_release_lock(*(PyThread_type_lock *)lock);
    count(&done);
}

static inline void wait_for_holder(void *arg)
{
    (void)arg;
    count(&ready);
    join(threads[0]);
    count(&done);
}

/* Starts and joins threads, and makes and frees locks and keys, so that a fork can come in the
   middle of any of these. */
static inline void start_without_end(void *arg)
{
    (void)arg;
    atomic_int ran = 0;
    int started = 0;
    count(&ready);
    while (!atomic_load(&closing)) {
        sleep_ms(started % 8 == 0);
        PyThread_handle_t handles[4];
        for (int i = 0; i < 4; i++, started++) {
            handles[i] = start(count, &ran);
        }
        PyThread_type_lock lock = PyThread_allocate_lock();
        EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
        PyThread_free_lock(lock);
        Py_tss_t *local = PyThread_tss_alloc();
        EQ(PyThread_tss_create(local), 0);
        EQ(PyThread_tss_set(local, local), 0);
        EQ_PTR(PyThread_tss_get(local), local);
        PyThread_tss_free(local);
        for (int i = 0; i < 4; i++) {
            join(handles[i]);
        }
    }
    EQ(atomic_load(&ran), started);
    count(&done);
}

/* wait_for_holder joins threads[0]; close_scene skips it. */
static inline void open_scene(void)
{
    int i = 0;
    theirs = PyThread_allocate_lock();
    mine = PyThread_allocate_lock();
    EQ(PyThread_tss_create(&key), 0);
    EQ(PyThread_acquire_lock(mine, WAIT_LOCK), 1);
    threads[i++] = start(hold_theirs, NULL);
    wait_for_count(&ready, 1);
    for (int n = 0; n < WAITERS; n++) {
        threads[i++] = start(wait_for_lock, &theirs);
        threads[i++] = start(wait_for_lock, &mine);
        threads[i++] = start(start_without_end, NULL);
    }
    for (int n = 0; n < STARTERS; n++) {
        threads[i++] = start(start_without_end, NULL);
    }
    threads[i++] = start(wait_for_holder, NULL);
    EQ(i, THREADS);
    wait_for_count(&ready, THREADS);
}

/* Ends all threads of the scene, and checks that each has done what it was to do. */
static inline void close_scene(void)
{
    pythread_stats stats;
    atomic_store(&closing, true);
    PyThread_release_lock(mine);
    for (int i = 1; i < THREADS; i++) {
        join(threads[i]);
    }
    EQ(PyThread_join_thread(threads[0]), EINVAL);
    EQ(atomic_load(&done), THREADS);
    PyThread_free_lock(theirs);
    PyThread_free_lock(mine);
    PyThread_tss_delete(&key);
    pythread_get_stats(&stats, sizeof stats);
    EQ(stats.threads, 0);
    EQ(stats.handles, 0);
}

/* ------------------------------------------------------------------------ the child */

static inline void use_lock(PyThread_type_lock lock)
{
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 1);
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 0);
    EQ(PyThread_acquire_lock_timed(lock, 1000, 0), PY_LOCK_FAILURE);
    PyThread_release_lock(lock);
    EQ(PyThread_acquire_lock_timed(lock, -1, 1), PY_LOCK_ACQUIRED);
    PyThread_release_lock(lock);
}

static inline void use_identity(void *ident)
{
    EQ(PyThread_get_thread_native_id(), syscall(SYS_gettid));
    if (ident != NULL) {
        EQ(PyThread_get_thread_ident_ex(), *(PyThread_ident_t *)ident);
        EQ(PyThread_get_thread_ident(), *(PyThread_ident_t *)ident);
    }
}

static inline void use_storage(void)
{
    Py_tss_t local = Py_tss_NEEDS_INIT;
    EQ(PyThread_tss_create(&local), 0);
    EQ_PTR(PyThread_tss_get(&local), NULL);
    EQ(PyThread_tss_set(&local, &local), 0);
    EQ_PTR(PyThread_tss_get(&local), &local);
    PyThread_tss_delete(&local);
}

struct exchange {
    PyThread_type_lock ping, pong;
    int value;
};

static inline void answer(void *arg)
{
    struct exchange *exchange = arg;
    use_identity(NULL);
    use_storage();
    EQ(PyThread_acquire_lock(exchange->ping, WAIT_LOCK), 1);
    EQ(exchange->value, 1);
    exchange->value = 2;
    PyThread_release_lock(exchange->pong);
}

static inline void exit_deep(void *arg)
{
    count(arg);
    PyThread_exit_thread();
}

static inline void start_and_join(void *counter)
{
    join(start(count, counter));
    join(start(exit_deep, counter));
}

/* Starts threads in every way, and exchanges a value with one of them. */
static inline void use_threads(void)
{
    enum { ROUNDS = 5 };
    PyThread_handle_t handles[ROUNDS], own;
    PyThread_ident_t idents[ROUNDS + 1];
    atomic_int counter = 0;
    pythread_stats before, during, after;
    struct exchange exchange = {PyThread_allocate_lock(), PyThread_allocate_lock(), 1};
    pythread_get_stats(&before, sizeof before);
    EQ(PyThread_acquire_lock(exchange.ping, WAIT_LOCK), 1);
    EQ(PyThread_acquire_lock(exchange.pong, WAIT_LOCK), 1);
    EQ(PyThread_start_joinable_thread(answer, &exchange, &idents[0], &own), 0);
    pythread_get_stats(&during, sizeof during);
    GE(during.threads, 1);
    EQ(during.handles, before.handles + 1);
    PyThread_release_lock(exchange.ping);
    EQ(PyThread_acquire_lock(exchange.pong, WAIT_LOCK), 1);
    EQ(exchange.value, 2);
    join(own);
    EQ(PyThread_join_thread(own), EINVAL);
    PyThread_free_lock(exchange.ping);
    PyThread_free_lock(exchange.pong);
    for (int i = 0; i < ROUNDS; i++) {
        EQ(PyThread_start_joinable_thread(start_and_join, &counter, &idents[i + 1], &handles[i]),
           0);
        for (int earlier = 0; earlier <= i; earlier++) {
            NE(idents[i + 1], idents[earlier]);
        }
        NE(PyThread_start_new_thread(count, &counter), PYTHREAD_INVALID_THREAD_ID);
        EQ(PyThread_detach_thread(start(exit_deep, &counter)), 0);
    }
    for (int i = 0; i < ROUNDS; i++) {
        join(handles[i]);
        EQ(PyThread_detach_thread(handles[i]), EINVAL);
    }
    wait_for_count(&counter, 4 * ROUNDS);
    /* A detached thread ends a little after it has counted. */
    for (int i = 0; i < 10000; i++) {
        pythread_get_stats(&after, sizeof after);
        if (after.threads <= before.threads) {
            break;
        }
        sleep_ms(1);
    }
    LE(after.threads, before.threads);
    LE(after.handles, before.handles);
}

/* The thread that forked runs on in the child, with the ident and the values that it had. */
static inline void use_everything(PyThread_ident_t ident, void *value)
{
    enum { TIMEOUT_US = 20000 };
    long long began = monotonic_ns();
    use_identity(&ident);
    for (int i = 0; i < THREADS; i++) {
        EQ(PyThread_join_thread(threads[i]), ESRCH);
        EQ(PyThread_detach_thread(threads[i]), ESRCH);
    }
    EQ_PTR(PyThread_tss_get(&key), value);
    EQ(PyThread_tss_set(&key, &ident), 0);
    EQ_PTR(PyThread_tss_get(&key), &ident);
    use_storage();
    began = monotonic_ns();
    EQ(PyThread_acquire_lock_timed(theirs, TIMEOUT_US, 0), PY_LOCK_FAILURE);
    GE(monotonic_ns() - began, TIMEOUT_US * 1000LL);
    EQ(PyThread_acquire_lock(theirs, NOWAIT_LOCK), 0);
    EQ(_PyThread_at_fork_reinit(&theirs), 0);
    use_lock(theirs);
    PyThread_release_lock(mine);
    use_lock(mine);
    use_threads();
}

/* ------------------------------------------------------------------------ who forks */

/* How a child ends. */
enum end { BY_EXIT, BY_QUICK_EXIT, BY_RETURN, BY_EXIT_THREAD, BY_PTHREAD_EXIT, BY_EXEC, ENDS };

static inline void end(enum end how)
{
    if (how == BY_EXIT) {
        exit(0);
    } else if (how == BY_QUICK_EXIT) {
        _exit(0);
    } else if (how == BY_EXIT_THREAD) {
        PyThread_exit_thread();
    } else if (how == BY_PTHREAD_EXIT) {
        pthread_exit(NULL);
    } else if (how == BY_EXEC) {
        execl("/bin/sh", "sh", "-c", "exit 0", (char *)NULL);
        _exit(127);
    }
}

/* Runs four threads at once, and returns how many goroutines there are then. */
static inline size_t stay_together(void)
{
    pythread_stats stats;
    PyThread_handle_t handles[4];
    for (int i = 0; i < 4; i++) {
        handles[i] = start(stay, NULL);
    }
    wait_for_count(&inside, 4);
    pythread_get_stats(&stats, sizeof stats);
    EQ(stats.threads, 4);
    atomic_store(&leave, true);
    for (int i = 0; i < 4; i++) {
        join(handles[i]);
    }
    return stats.goroutines;
}

static inline void use_first_threads(void)
{
    stay_together();
    use_threads();
}

#endif
