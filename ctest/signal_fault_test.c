/*
 * signal_fault_test.c - a handler gets the faults of its thread and may jump out of them. Without a
 * handler, faults and other signals do what they do by default.
 */
#define _GNU_SOURCE
#include "handler_place.h"
#include "signals.h"
#include "threads.h"

#include <setjmp.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>

static _Thread_local sigjmp_buf after_fault;
static _Thread_local volatile int faults;

static void jump_out(int sig)
{
    check_place(sig);
    faults++;
    siglongjmp(after_fault, sig);
}

static void fault(void)
{
    int *volatile nowhere = (int *)16;
    *nowhere = 0;
}

static void recover_from_faults(void *with_stack)
{
    if (with_stack != NULL) {
        set_signal_stack();
    }
    for (int i = 0; i < 100; i++) {
        faults = 0;
        if (sigsetjmp(after_fault, 1) == 0) {
            fault();
            faults = -1;
        }
        EQ(faults, 1);
        int sig = sigsetjmp(after_fault, 1);
        if (sig == 0) {
            raise(SIGFPE);
            faults = -1;
        }
        EQ(sig, SIGFPE);
        EQ(faults, 2);
        join(start(nothing, NULL));
    }
    if (with_stack != NULL) {
        clear_signal_stack();
    }
}

static void recover_everywhere(int flags, bool with_stack)
{
    enum { THREADS = 5 };
    PyThread_handle_t handles[THREADS];
    find_stacks();
    set_handler(SIGSEGV, jump_out, flags);
    set_handler(SIGFPE, jump_out, flags);
    recover_from_faults(with_stack ? &with_stack : NULL);
    for (int i = 0; i < THREADS; i++) {
        use_own_os_threads(i == 0);
        handles[i] = start(recover_from_faults, with_stack ? &with_stack : NULL);
    }
    for (int i = 0; i < THREADS; i++) {
        join(handles[i]);
    }
    recover_from_faults(with_stack ? &with_stack : NULL);
    EQ(atomic_load(&misplaced), 0);
    EQ(atomic_load(&strays), 0);
    EQ(atomic_load(&handled[SIGSEGV]), 100 * (THREADS + 2));
}

TEST(a_handler_gets_faults_and_may_jump_out)
{
    recover_everywhere(0, false);
}

TEST(a_handler_gets_faults_on_its_signal_stack_and_may_jump_out)
{
    recover_everywhere(SA_ONSTACK, true);
}

/* Returns the status of a child that runs func: in main before its first thread (0), in main
   afterwards (1), in a thread (2), or in a thread on an OS thread of its own (3). */
static int status_of(void (*func)(void *), int where)
{
    int status, ends[2];
    test_skip_under_asan(ASAN_AFTER_FORK);
    EQ(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    GE(child, 0);
    if (child == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        dup2(ends[1], STDERR_FILENO);
        alarm(30);
        if (where > 0) {
            run_all_kinds(1);
        }
        if (where < 2) {
            func(NULL);
        } else {
            use_own_os_threads(where == 3);
            join(start(func, NULL));
        }
        _exit(0);
    }
    EQ(waitpid(child, &status, 0), child);
    /* The child has written nothing: no traceback of Go. */
    close(ends[1]);
    char said[1024];
    ssize_t length = read(ends[0], said, sizeof said - 1);
    said[length > 0 ? length : 0] = '\0';
    EQ_STR(said, "");
    close(ends[0]);
    return status;
}

static void fault_in_thread(void *arg)
{
    (void)arg;
    fault();
}

static int raised;

static void raise_it(void *arg)
{
    (void)arg;
    raise(raised);
}

static void write_to_broken_pipe(void *arg)
{
    int ends[2];
    (void)arg;
    if (pipe(ends) != 0) {
        _exit(3);
    }
    close(ends[0]);
    _exit(write(ends[1], "x", 1) < 0 && errno == EPIPE ? 42 : 4);
}

enum { PLACES = 4 };

TEST(a_fault_without_a_handler_ends_the_process_by_its_signal)
{
    const int sigs[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGSTKFLT};
    for (int where = 0; where < PLACES; where++) {
        int status = status_of(fault_in_thread, where);
        CHECK(WIFSIGNALED(status));
        EQ(WTERMSIG(status), SIGSEGV);
        for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++) {
            raised = sigs[i];
            status = status_of(raise_it, where);
            CHECK(WIFSIGNALED(status));
            EQ(WTERMSIG(status), raised);
        }
    }
}

TEST(signals_do_what_they_do_by_default)
{
    const int ending[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGALRM, SIGPROF, SIGIO};
    const int ignored[] = {SIGCHLD, SIGURG, SIGWINCH};
    for (int where = 0; where < PLACES; where++) {
        for (size_t i = 0; i < sizeof ending / sizeof *ending; i++) {
            raised = ending[i];
            int status = status_of(raise_it, where);
            CHECK(WIFSIGNALED(status));
            EQ(WTERMSIG(status), raised);
        }
        for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
            raised = ignored[i];
            EQ(status_of(raise_it, where), 0);
        }
    }
}

TEST(a_broken_pipe_ends_the_process_or_is_an_error)
{
    for (int where = 0; where < PLACES; where++) {
        signal(SIGPIPE, SIG_DFL);
        int status = status_of(write_to_broken_pipe, where);
        CHECK(WIFSIGNALED(status));
        EQ(WTERMSIG(status), SIGPIPE);
        signal(SIGPIPE, SIG_IGN);
        EQ(status_of(write_to_broken_pipe, where), 42 << 8);
    }
}
