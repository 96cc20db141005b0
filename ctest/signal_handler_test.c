/*
 * signal_handler_test.c - the program's handlers stay as they are, whenever it sets them, and the
 * library has none. They run while their thread waits in a join, and interrupt system calls as they
 * ask.
 */
#define _GNU_SOURCE
#include "signals.h"
#include "threads.h"

#include <stdbool.h>

/* After exec no signal has a handler, only its default action or none. */
static void check_no_handlers(void)
{
    struct sigaction action;
    for (int sig = 1; sig < NSIG; sig++) {
        if (sigaction(sig, NULL, &action) == 0) {
            CHECK(action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN);
            EQ(action.sa_flags & SA_ONSTACK, 0);
        }
    }
    EQ(status_set("/proc/self/status", "SigCgt:") & ~INTERNAL, 0);
}

TEST(no_signal_is_handled_by_the_library)
{
    unsigned long long ignored = status_set("/proc/self/status", "SigIgn:");
    check_no_handlers();
    PyThread_init_thread();
    check_no_handlers();
    run_all_kinds(10);
    check_no_handlers();
    EQ(status_set("/proc/self/status", "SigIgn:"), ignored);
}

static void handle_nothing(int sig)
{
    (void)sig;
}

static void expected_action(int sig, struct sigaction *action)
{
    static const int flags[] = {0, SA_RESTART, SA_ONSTACK, SA_NODEFER, SA_RESTART | SA_ONSTACK};
    memset(action, 0, sizeof *action);
    action->sa_handler = sig % 7 == 0 ? SIG_IGN : handle_nothing;
    action->sa_flags = flags[(size_t)sig % (sizeof flags / sizeof *flags)];
    sigaddset(&action->sa_mask, sig % 31 + 1);
    sigdelset(&action->sa_mask, SIGKILL);
    sigdelset(&action->sa_mask, SIGSTOP);
}

static void check_actions(void)
{
    struct sigaction expected, action;
    for (int sig = 1; sig < NSIG; sig++) {
        if (sig == SIGKILL || sig == SIGSTOP || sigaction(sig, NULL, &action) != 0) {
            continue;
        }
        expected_action(sig, &expected);
        EQ_PTR(action.sa_handler, expected.sa_handler);
        EQ(action.sa_flags & ~SA_RESTORER, expected.sa_flags);
        for (int other = 1; other < NSIG; other++) {
            EQ(sigismember(&action.sa_mask, other), sigismember(&expected.sa_mask, other));
        }
    }
}

static void set_actions(void)
{
    struct sigaction action;
    for (int sig = 1; sig < NSIG; sig++) {
        expected_action(sig, &action);
        sigaction(sig, &action, NULL);
    }
}

TEST(handlers_set_before_the_first_thread_stay_as_they_are)
{
    set_actions();
    PyThread_init_thread();
    check_actions();
    run_all_kinds(10);
    check_actions();
}

TEST(handlers_set_after_the_first_thread_stay_as_they_are)
{
    run_all_kinds(10);
    set_actions();
    run_all_kinds(10);
    check_actions();
}

TEST(defaults_set_for_all_signals_do_no_harm)
{
    run_all_kinds(3);
    for (int sig = 1; sig < NSIG; sig++) {
        signal(sig, SIG_DFL);
    }
    run_all_kinds(20);
    check_no_handlers();
}

static pthread_t joiner;
static atomic_int interrupted;

static void interrupt_joiner(void *arg)
{
    for (int i = 1; i <= 20; i++) {
        EQ(pthread_kill(joiner, SIGUSR1), 0);
        /* The handler runs during the join, which ends after this thread. */
        wait_for_at_least(&interrupted, i);
    }
    *(bool *)arg = true;
}

static void count_interrupt(int sig)
{
    (void)sig;
    count(&interrupted);
}

static void join_interrupted(void *flags)
{
    joiner = pthread_self();
    for (int i = 0; i < 15; i++) {
        bool ended = false;
        atomic_store(&interrupted, 0);
        set_handler(SIGUSR1, count_interrupt, *(int *)flags);
        join(start(interrupt_joiner, &ended));
        CHECK(ended);
        EQ(atomic_load(&interrupted), 20);
    }
}

TEST(handlers_run_during_a_join_and_do_not_end_it)
{
    int flags[] = {0, SA_RESTART, SA_ONSTACK, SA_ONSTACK | SA_RESTART};
    for (int i = 0; i < 4; i++) {
        join_interrupted(&flags[i]);
        join(start(join_interrupted, &flags[i]));
    }
}

struct reader {
    int ends[2];
    pthread_t pthread;
    atomic_int steps;
};

static void read_interrupted(void *arg)
{
    struct reader *reader = arg;
    char byte;
    reader->pthread = pthread_self();
    count(&reader->steps);
    EQ(read(reader->ends[0], &byte, 1), -1);
    EQ(errno, EINTR);
    set_handler(SIGUSR1, count_interrupt, SA_RESTART);
    count(&reader->steps);
    EQ(read(reader->ends[0], &byte, 1), 1);
}

TEST(a_system_call_of_a_thread_is_interrupted_as_its_handler_asks)
{
    for (int i = 0; i < 20; i++) {
        struct reader reader = {.steps = 0};
        EQ(pipe(reader.ends), 0);
        use_own_os_threads(i % 2);
        set_handler(SIGUSR1, count_interrupt, 0);
        PyThread_handle_t handle = start(read_interrupted, &reader);
        wait_for_at_least(&reader.steps, 1);
        /* Again and again, since the thread may not be in the call yet. */
        while (atomic_load(&reader.steps) == 1) {
            EQ(pthread_kill(reader.pthread, SIGUSR1), 0);
            sleep_ms(1);
        }
        atomic_store(&interrupted, 0);
        EQ(pthread_kill(reader.pthread, SIGUSR1), 0);
        wait_for_at_least(&interrupted, 1);
        EQ(write(reader.ends[1], "", 1), 1);
        join(handle);
        close(reader.ends[0]);
        close(reader.ends[1]);
    }
}
