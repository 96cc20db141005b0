/*
 * hygiene_test.c - a thread begins clean on an OS thread that others have used. What they set,
 * changed and left pending is gone; the signal mask and the rounding mode are the creator's.
 */
#define _GNU_SOURCE
#include "threads.h"

#include <fenv.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>

enum { KEYS = 40, SIGNAL_STACK = 64 * 1024, NAME = 16 };

static Py_tss_t keys[KEYS];
static int old_key;

/* What a thread is to do, and the OS thread that it ran on. */
struct visit {
    unsigned long os_thread;
    void (*func)(void);
};

static void run_visit(void *arg)
{
    struct visit *visit = arg;
    visit->os_thread = PyThread_get_thread_native_id();
    visit->func();
}

/* One thread changes its OS thread, and the next one looks at its own. Repeats this until both have
   run on the same OS thread often enough. */
static void change_and_look(void (*change)(void), void (*look)(void))
{
    int shared = 0;
    for (int round = 0; round < 2000 && shared < 100; round++) {
        struct visit first = {.func = change}, second = {.func = look};
        join(start(run_visit, &first));
        join(start(run_visit, &second));
        shared += first.os_thread == second.os_thread;
    }
    EQ(shared, 100);
}

static void change_and_stay(void *arg)
{
    struct visit *visit = arg;
    visit->func();
    stay(NULL);
}

/* The same with many threads at once, so that every kind of OS thread takes part. */
static void change_and_look_at_once(void (*change)(void), void (*look)(void))
{
    enum { THREADS = 320 };
    static PyThread_handle_t handles[THREADS];
    static struct visit visits[THREADS];
    atomic_store(&inside, 0);
    atomic_store(&leave, false);
    for (int i = 0; i < THREADS; i++) {
        visits[i].func = change;
        handles[i] = start(change_and_stay, &visits[i]);
    }
    wait_for_count(&inside, THREADS);
    atomic_store(&leave, true);
    for (int i = 0; i < THREADS; i++) {
        join(handles[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        visits[i].func = look;
        handles[i] = start(run_visit, &visits[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        join(handles[i]);
    }
}

static void change_and_look_every_way(void (*change)(void), void (*look)(void))
{
    struct visit visit = {.func = look};
    join(start(run_visit, &visit));
    change_and_look(change, look);
    change_and_look_at_once(change, look);
    use_own_os_threads(1);
    for (int i = 0; i < 10; i++) {
        visit.func = change;
        join(start(run_visit, &visit));
        visit.func = look;
        join(start(run_visit, &visit));
    }
    use_own_os_threads(0);
}

/* ------------------------------------------------------------------------ storage */

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static void set_values(void)
{
    for (int i = 0; i < KEYS; i++) {
        EQ(PyThread_tss_set(&keys[i], &keys[i]), 0);
    }
    EQ(PyThread_set_key_value(old_key, &old_key), 0);
}

static void find_no_values(void)
{
    for (int i = 0; i < KEYS; i++) {
        EQ_PTR(PyThread_tss_get(&keys[i]), NULL);
    }
    EQ_PTR(PyThread_get_key_value(old_key), NULL);
}

TEST(a_thread_begins_with_empty_storage)
{
    for (int i = 0; i < KEYS; i++) {
        EQ(PyThread_tss_create(&keys[i]), 0);
    }
    old_key = PyThread_create_key();
    GE(old_key, 0);
    set_values();
    change_and_look_every_way(set_values, find_no_values);
    EQ_PTR(PyThread_tss_get(&keys[0]), &keys[0]);
}

/* ------------------------------------------------------------------------ errno, name */

static void set_errno(void)
{
    errno = ERANGE;
}

static void find_no_errno(void)
{
    EQ(errno, 0);
}

TEST(a_thread_begins_with_errno_0)
{
    errno = EDOM;
    change_and_look_every_way(set_errno, find_no_errno);
    EQ(errno, EDOM);
}

static void set_name(void)
{
    EQ(prctl(PR_SET_NAME, "changed"), 0);
}

static void find_creators_name(void)
{
    char name[NAME];
    EQ(prctl(PR_GET_NAME, name), 0);
    EQ_STR(name, "creator");
}

TEST(a_thread_begins_with_its_creators_name)
{
    EQ(prctl(PR_SET_NAME, "creator"), 0);
    change_and_look_every_way(set_name, find_creators_name);
}

/* ------------------------------------------------------------------------ signals */

static void block_signals(void)
{
    sigset_t all;
    sigfillset(&all);
    EQ(pthread_sigmask(SIG_SETMASK, &all, NULL), 0);
}

static void find_creators_mask(void)
{
    sigset_t mask;
    EQ(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
    for (int sig = 1; sig < NSIG; sig++) {
        EQ(sigismember(&mask, sig) == 1, sig == SIGUSR1);
    }
}

TEST(a_thread_begins_with_its_creators_mask)
{
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    EQ(pthread_sigmask(SIG_SETMASK, &mask, NULL), 0);
    change_and_look_every_way(block_signals, find_creators_mask);
    find_creators_mask();
}

static atomic_int handled;

static void count_signal(int sig)
{
    (void)sig;
    atomic_fetch_add(&handled, 1);
}

static void leave_signals_pending(void)
{
    block_signals();
    for (int i = 0; i < 3; i++) {
        EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
        /* The user's other processes may have filled the queue of realtime signals. */
        int error;
        while ((error = pthread_kill(pthread_self(), SIGRTMIN)) == EAGAIN) {
            sched_yield();
        }
        EQ(error, 0);
        EQ(pthread_kill(pthread_self(), SIGTERM), 0);
    }
}

static void find_nothing_pending(void)
{
    sigset_t pending;
    EQ(sigpending(&pending), 0);
    CHECK(sigisemptyset(&pending));
    EQ(atomic_load(&handled), 0);
}

TEST(a_signal_that_a_thread_left_pending_is_gone_with_it)
{
    signal(SIGUSR1, count_signal);
    signal(SIGRTMIN, count_signal);
    change_and_look_every_way(leave_signals_pending, find_nothing_pending);
}

static pthread_t ended;

static void block_and_end(void *arg)
{
    (void)arg;
    block_signals();
    ended = pthread_self();
}

/* A thread that has ended and is not joined may still be sent signals. They have no effect. */
TEST(a_signal_to_a_thread_that_has_ended_does_not_hit_the_next)
{
    for (int i = 0; i < 300; i++) {
        pythread_stats stats;
        PyThread_handle_t handle = start(block_and_end, NULL);
        do {
            sched_yield();
            pythread_get_stats(&stats, sizeof stats);
        } while (stats.threads != 0);
        /* By now its OS thread waits for the next thread. */
        sleep_ms(i % 3);
        EQ(pthread_kill(ended, SIGTERM), 0);
        struct visit visit = {.func = find_nothing_pending};
        join(start(run_visit, &visit));
        join(handle);
    }
}

static void find_process_signal(void)
{
    sigset_t pending;
    EQ(sigpending(&pending), 0);
    EQ(sigismember(&pending, SIGUSR1), 1);
    EQ(sigismember(&pending, SIGUSR2), 0);
}

static void leave_mixed_signals(void)
{
    EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
    EQ(pthread_kill(pthread_self(), SIGUSR2), 0);
}

TEST(a_signal_that_is_pending_for_the_process_stays_so)
{
    block_signals();
    EQ(kill(getpid(), SIGUSR1), 0);
    change_and_look_every_way(leave_mixed_signals, find_process_signal);
    find_process_signal();
}

static void set_signal_stack(void)
{
    static char memory[SIGNAL_STACK];
    stack_t stack = {.ss_size = SIGNAL_STACK, .ss_sp = memory};
    EQ(sigaltstack(&stack, NULL), 0);
}

static void find_no_signal_stack(void)
{
    stack_t stack;
    EQ(sigaltstack(NULL, &stack), 0);
    EQ(stack.ss_flags, SS_DISABLE);
}

TEST(a_thread_begins_without_a_signal_stack)
{
    set_signal_stack();
    change_and_look_every_way(set_signal_stack, find_no_signal_stack);
}

static void use_signal_stack(void *memory)
{
    stack_t stack = {.ss_size = SIGNAL_STACK, .ss_sp = memory};
    EQ(sigaltstack(&stack, NULL), 0);
}

static atomic_bool calm;

static void *storm(void *arg)
{
    while (!atomic_load(&calm)) {
        kill(getpid(), SIGUSR2);
    }
    return arg;
}

/* The owner of a signal stack may free it after the join, so no handler may run on it then. */
TEST(no_handler_runs_on_a_threads_signal_stack_after_its_join)
{
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_ONSTACK};
    pthread_t pthread;
    sigset_t set;
    EQ(sigaction(SIGUSR2, &action, NULL), 0);
    sigemptyset(&set);
    EQ(pthread_create(&pthread, NULL, storm, NULL), 0);
    for (int i = 0; i < 3000; i++) {
        void *memory =
            mmap(NULL, SIGNAL_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        NE(memory, MAP_FAILED);
        join(start(use_signal_stack, memory));
        EQ(munmap(memory, SIGNAL_STACK), 0);
    }
    atomic_store(&calm, true);
    EQ(pthread_join(pthread, NULL), 0);
    GT(atomic_load(&handled), 0);
}

/* ------------------------------------------------------------------------ the C library's state */

static void disable_cancellation(void)
{
    EQ(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL), 0);
    EQ(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL), 0);
}

static void find_default_cancellation(void)
{
    int state, type;
    EQ(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state), 0);
    EQ(pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &type), 0);
    EQ(state, PTHREAD_CANCEL_ENABLE);
    EQ(type, PTHREAD_CANCEL_DEFERRED);
}

TEST(a_thread_begins_with_cancellation_by_default)
{
    change_and_look_every_way(disable_cancellation, find_default_cancellation);
}

static atomic_int cleaned_up;

static void clean_up(void *arg)
{
    (void)arg;
    atomic_fetch_add(&cleaned_up, 1);
}

static void exit_with_cleanup(void)
{
    pthread_cleanup_push(clean_up, NULL);
    PyThread_exit_thread();
    pthread_cleanup_pop(0);
}

static void pthread_exit_with_cleanup(void)
{
    pthread_cleanup_push(clean_up, NULL);
    pthread_exit(NULL);
    pthread_cleanup_pop(0);
}

static void run_own_cleanup_handlers_only(void (*exit_from)(void))
{
    for (int i = 1; i <= 100; i++) {
        struct visit visit = {.func = exit_from};
        join(start(run_visit, &visit));
        EQ(atomic_load(&cleaned_up), i);
        visit.func = find_default_cancellation;
        join(start(run_visit, &visit));
        EQ(atomic_load(&cleaned_up), i);
    }
}

TEST(exit_runs_the_threads_own_cleanup_handlers_only)
{
    run_own_cleanup_handlers_only(exit_with_cleanup);
}

TEST(pthread_exit_runs_the_threads_own_cleanup_handlers_only)
{
    run_own_cleanup_handlers_only(pthread_exit_with_cleanup);
}

static locale_t other_locale;

static void set_locale(void)
{
    uselocale(other_locale);
}

static void find_global_locale(void)
{
    EQ_PTR(uselocale((locale_t)0), LC_GLOBAL_LOCALE);
}

TEST(a_thread_begins_with_the_global_locale)
{
    other_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    CHECK(other_locale != (locale_t)0);
    change_and_look_every_way(set_locale, find_global_locale);
    freelocale(other_locale);
}

static void round_down(void)
{
    EQ(fesetround(FE_DOWNWARD), 0);
}

static void find_creators_rounding(void)
{
    EQ(fegetround(), FE_UPWARD);
}

TEST(a_thread_begins_with_its_creators_rounding)
{
    /* OS threads from before have another mode. */
    run_all_kinds(3);
    EQ(fesetround(FE_UPWARD), 0);
    change_and_look_every_way(round_down, find_creators_rounding);
    find_creators_rounding();
}
