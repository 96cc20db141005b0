/*
 * signal_mask_test.c - a thread begins with the signal mask of its creator. A start changes neither
 * the mask nor the signal stack of its caller. So a signal goes to the threads that the program has
 * chosen.
 */
#define _GNU_SOURCE
#include "handler_place.h"
#include "signals.h"
#include "threads.h"

static sigset_t seen_mask;

static void see_mask(void *arg)
{
    (void)arg;
    EQ(pthread_sigmask(SIG_BLOCK, NULL, &seen_mask), 0);
}

static void see_mask_and_change_it(void *arg)
{
    sigset_t all;
    see_mask(arg);
    sigfillset(&all);
    EQ(pthread_sigmask(arg == NULL ? SIG_SETMASK : SIG_UNBLOCK, &all, NULL), 0);
}

TEST(a_thread_has_its_creators_mask)
{
    for (int round = 0; round < 200; round++) {
        int sig = round % 31 + 1;
        if (sig == SIGKILL || sig == SIGSTOP) {
            continue;
        }
        block_only(sig);
        use_own_os_threads(round % 4 == 0);
        join(start(see_mask_and_change_it, round % 2 == 0 ? NULL : &round));
        for (int other = 1; other < NSIG; other++) {
            if ((INTERNAL & SET_OF(other)) == 0) {
                EQ(sigismember(&seen_mask, other), other == sig);
            }
        }
    }
}

static void see_mask_in_thread_of_thread(void *arg)
{
    block_only(SIGUSR2);
    join(start(see_mask, arg));
}

TEST(a_threads_thread_has_that_threads_mask)
{
    block_only(SIGUSR1);
    for (int i = 0; i < 100; i++) {
        join(start(see_mask_in_thread_of_thread, NULL));
        EQ(sigismember(&seen_mask, SIGUSR1), 0);
        EQ(sigismember(&seen_mask, SIGUSR2), 1);
        join(start(see_mask, NULL));
        EQ(sigismember(&seen_mask, SIGUSR1), 1);
        EQ(sigismember(&seen_mask, SIGUSR2), 0);
    }
}

/* Calls that enter Go leave the caller's mask as it is, also the first call on an OS thread. */
static void *check_own_mask(void *arg)
{
    sigset_t mask;
    block_only(SIGUSR1);
    for (int i = 0; i < 30; i++) {
        run_all_kinds(1);
        EQ(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
        for (int sig = 1; sig < NSIG; sig++) {
            EQ(sigismember(&mask, sig) == 1, sig == SIGUSR1);
        }
    }
    return arg;
}

/* They leave the caller's signal stack as it is, also if it has none. */
static void *check_own_signal_stack(void *arg)
{
    stack_t stack;
    for (int i = 0; i < 30; i++) {
        if (i == 10) {
            set_signal_stack();
        } else if (i == 20) {
            clear_signal_stack();
        }
        EQ(sigaltstack(NULL, &stack), 0);
        EQ((stack.ss_flags & SS_DISABLE) == 0, i >= 10 && i < 20);
        EQ_PTR(stack.ss_flags & SS_DISABLE ? NULL : stack.ss_sp, signal_stack);
        run_all_kinds(1);
    }
    return arg;
}

static void *(*check_own)(void *);

static void check_own_in_thread(void *arg)
{
    check_own(arg);
}

/* On pthreads, in threads and in main. */
static void check_own_everywhere(void *(*check)(void *))
{
    pthread_t pthread;
    check_own = check;
    for (int i = 0; i < 10; i++) {
        EQ(pthread_create(&pthread, NULL, check, NULL), 0);
        EQ(pthread_join(pthread, NULL), 0);
        join(start(check_own_in_thread, NULL));
    }
    check(NULL);
}

TEST(a_start_leaves_the_callers_mask)
{
    check_own_everywhere(check_own_mask);
}

TEST(a_start_leaves_the_callers_signal_stack)
{
    check_own_everywhere(check_own_signal_stack);
}

static atomic_int handled_inside, handled_elsewhere;
/* Volatile, because a handler reads it. */
static _Thread_local volatile bool listens;

static void count_where(int sig)
{
    (void)sig;
    count(listens ? &handled_inside : &handled_elsewhere);
}

static void listen_alone(void *arg)
{
    listens = true;
    block_only(0);
    stay(arg);
    block_only(SIGUSR1);
    listens = false;
}

TEST(a_signal_to_the_process_goes_to_a_thread_that_does_not_block_it)
{
    set_handler(SIGUSR1, count_where, 0);
    block_only(SIGUSR1);
    PyThread_handle_t listener = start(listen_alone, NULL);
    wait_for_at_least(&inside, 1);
    for (int i = 1; i <= 1000; i++) {
        EQ(kill(getpid(), SIGUSR1), 0);
        if (i % 10 == 0) {
            run_all_kinds(1);
        }
        wait_for_at_least(&handled_inside, i);
    }
    EQ(atomic_load(&handled_elsewhere), 0);
    atomic_store(&leave, true);
    join(listener);
    /* No OS thread takes the signal now: it waits until main does. */
    EQ(kill(getpid(), SIGUSR1), 0);
    run_all_kinds(10);
    EQ(atomic_load(&handled_elsewhere), 0);
    listens = true;
    block_only(0);
    EQ(atomic_load(&handled_inside), 1001);
}
