/*
 * mains_signals.h - for tests: a thread sends the process a signal while main waits for a lock, and
 * then does something that must leave the signal to main.
 */
#ifndef MAINS_SIGNALS_H
#define MAINS_SIGNALS_H

#include "threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

static pthread_t waiter;
static atomic_int handled_by_waiter, handled_by_others;

static inline void count_handler(int sig)
{
    (void)sig;
    count(pthread_equal(pthread_self(), waiter) ? &handled_by_waiter : &handled_by_others);
}

static pthread_key_t key_of_process;

static atomic_bool main_waits;

static inline void wait_until_main_sleeps(void)
{
    char line[64] = "";
    while (!atomic_load(&main_waits)) {
        sched_yield();
    }
    while (strstr(line, ") S") == NULL) {
        FILE *file = fopen("/proc/self/stat", "r");
        CHECK(file != NULL && fgets(line, sizeof line, file) != NULL);
        fclose(file);
    }
}

static inline void kill_and_end(void *arg)
{
    (void)arg;
    wait_until_main_sleeps();
    EQ(kill(getpid(), SIGUSR1), 0);
}

static inline void destroy_nothing(void *unused)
{
    (void)unused;
}

/* The OS thread is not reusable afterwards, so it ends with the thread. */
static inline void leave_a_value_and_kill(void *arg)
{
    EQ(pthread_setspecific(key_of_process, &key_of_process), 0);
    kill_and_end(arg);
}

static inline void kill_and_join(void *other)
{
    wait_until_main_sleeps();
    EQ(kill(getpid(), SIGUSR1), 0);
    join(*(PyThread_handle_t *)other);
}

/* Main waits for a lock until a handler ends the wait. A signal that another thread takes does not
   end it. */
static inline void wait_for_signals(void (*kill_from_thread)(void *))
{
    enum { ROUNDS = 500 };
    struct sigaction action = {.sa_handler = count_handler};
    PyThread_type_lock lock = PyThread_allocate_lock();
    EQ(sigaction(SIGUSR1, &action, NULL), 0);
    waiter = pthread_self();
    EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
    for (int i = 1; i <= ROUNDS; i++) {
        atomic_int ran = 0;
        /* A thread that begins may take the signal, as any new pthread may. */
        PyThread_handle_t other = start(count, &ran);
        wait_for_count(&ran, 1);
        PyThread_handle_t killer = start(kill_from_thread, &other);
        atomic_store(&main_waits, true);
        EQ(PyThread_acquire_lock_timed(lock, 20000000, 1), PY_LOCK_INTR);
        atomic_store(&main_waits, false);
        join(killer);
        if (kill_from_thread != kill_and_join) {
            join(other);
        }
        /* After these, which leave nothing, the next killer is on an OS thread of Go again. */
        for (int j = 0; j < 5; j++) {
            join(start(nothing, NULL));
        }
    }
    EQ(atomic_load(&handled_by_others), 0);
    EQ(atomic_load(&handled_by_waiter), ROUNDS);
    PyThread_release_lock(lock);
    PyThread_free_lock(lock);
}

#endif
