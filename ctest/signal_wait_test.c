/*
 * signal_wait_test.c - a program that blocks signals and waits for them gets each, because no OS
 * thread of the library takes one. It waits by sigwait, by sigtimedwait or by a signalfd.
 */
#define _GNU_SOURCE
#include "process.h"
#include "signals.h"
#include "starters.h"
#include "threads.h"

#include <dirent.h>
#include <poll.h>
#include <sys/signalfd.h>

enum { SIGNALS = 20000 };
static int waited_for;
static atomic_int arrived;
static atomic_bool all_sent;

static void *wait_for_signals(void *arg)
{
    sigset_t set;
    int sig;
    sigemptyset(&set);
    sigaddset(&set, waited_for);
    while (atomic_load(&arrived) < SIGNALS) {
        EQ(sigwait(&set, &sig), 0);
        EQ(sig, waited_for);
        count(&arrived);
    }
    return arg;
}

static void *send_signals(void *arg)
{
    union sigval value = {0};
    for (int i = 0; i < SIGNALS; i++) {
        if (waited_for < SIGRTMIN) {
            /* Not queued, so one at a time. */
            while (atomic_load(&arrived) < i) {
                sched_yield();
            }
        }
        while (sigqueue(getpid(), waited_for, value) != 0) {
            EQ(errno, EAGAIN);
            sched_yield();
        }
    }
    atomic_store(&all_sent, true);
    return arg;
}

static void *start_for_a_moment(void *arg)
{
    join(start(nothing, NULL));
    return arg;
}

/* Sends a signal that all OS threads block. If one did not, the signal would end the process, or
   vanish. */
static void send_to_waiter(int sig)
{
    pthread_t waiter, sender, pthread;
    block_only(sig);
    waited_for = sig;
    EQ(pthread_create(&waiter, NULL, wait_for_signals, NULL), 0);
    EQ(pthread_create(&sender, NULL, send_signals, NULL), 0);
    do {
        EQ(pthread_create(&pthread, NULL, start_for_a_moment, NULL), 0);
        EQ(pthread_join(pthread, NULL), 0);
        run_all_kinds(1);
    } while (!atomic_load(&all_sent));
    EQ(pthread_join(sender, NULL), 0);
    EQ(pthread_join(waiter, NULL), 0);
    EQ(atomic_load(&arrived), SIGNALS);
}

TEST(sigwait_gets_every_realtime_signal)
{
    send_to_waiter(SIGRTMIN);
}

TEST(sigwait_gets_every_sigchld)
{
    send_to_waiter(SIGCHLD);
}

TEST(sigwait_gets_every_sigprof)
{
    send_to_waiter(SIGPROF);
}

TEST(sigwait_gets_every_sigsegv_that_is_sent)
{
    send_to_waiter(SIGSEGV);
}

static sigset_t block(int sig)
{
    sigset_t set;
    EQ(sigemptyset(&set), 0);
    EQ(sigaddset(&set, sig), 0);
    EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    return set;
}

/* The library's OS threads must not have this mask from the program: it may block signals later. */
static void start_first_with_no_signal_blocked(void)
{
    sigset_t none;
    EQ(sigemptyset(&none), 0);
    EQ(pthread_sigmask(SIG_SETMASK, &none, NULL), 0);
    join(start(nothing, NULL));
    join(start(nothing, NULL));
}

/* Longer than any wait that ends as it should. */
enum { WAIT_SECONDS = 20 };

/* Does what a supervisor does. A child ends only after the end of the last one was reported,
   because a signal that is pending is not queued again. */
static void supervise(void)
{
    enum { CHILDREN = 200 };
    sigset_t set = block(SIGCHLD);
    int file = signalfd(-1, &set, SFD_CLOEXEC);
    GE(file, 0);
    begin_starters();
    for (int i = 0; i < CHILDREN; i++) {
        struct signalfd_siginfo info;
        struct pollfd ready = {.fd = file, .events = POLLIN};
        pid_t child = fork();
        GE(child, 0);
        if (child == 0) {
            _exit(0);
        }
        EQ(poll(&ready, 1, WAIT_SECONDS * 1000), 1);
        EQ(read(file, &info, sizeof info), sizeof info);
        EQ(info.ssi_signo, SIGCHLD);
        EQ(info.ssi_pid, child);
        reap(child, 0);
    }
    end_starters();
    close(file);
}

TEST(a_signalfd_reports_the_end_of_every_child)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    supervise();
}

TEST(a_signalfd_made_after_the_first_thread_reports_the_end_of_every_child)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    start_first_with_no_signal_blocked();
    supervise();
}

/* Sends signals and waits for each. So many are on their way at a time. */
static void wait_for_each(int sig, int at_a_time)
{
    enum { SIGNALS = 2000 };
    const struct timespec long_time = {.tv_sec = WAIT_SECONDS};
    start_first_with_no_signal_blocked();
    sigset_t set = block(sig);
    begin_starters();
    for (int i = 0; i < SIGNALS; i += at_a_time) {
        for (int j = 0; j < at_a_time; j++) {
            EQ(sigqueue(getpid(), sig, (union sigval){.sival_int = i + j}), 0);
        }
        for (int j = 0; j < at_a_time; j++) {
            siginfo_t info;
            EQ(sigtimedwait(&set, &info, &long_time), sig);
            EQ(info.si_value.sival_int, i + j);
        }
    }
    end_starters();
}

TEST(sigtimedwait_gets_every_sigurg)
{
    wait_for_each(SIGURG, 1);
}

TEST(sigtimedwait_gets_every_sigalrm)
{
    wait_for_each(SIGALRM, 1);
}

TEST(sigtimedwait_gets_every_signal_34)
{
    wait_for_each(34, 50);
}

/* How many OS threads block every signal, and how many do not. */
static void count_masks(int *deaf, int *others)
{
    struct dirent *entry;
    char file[64];
    *deaf = *others = 0;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    while ((entry = readdir(tasks)) != NULL) {
        if (entry->d_name[0] != '.') {
            snprintf(file, sizeof file, "/proc/self/task/%.20s/status", entry->d_name);
            bool all = (status_set(file, "SigBlk:") & ALL_SIGNALS) == ALL_SIGNALS;
            *(all ? deaf : others) += 1;
        }
    }
    closedir(tasks);
}

TEST(os_threads_of_the_library_block_all_signals)
{
    enum { THREADS = 50 };
    PyThread_handle_t handles[THREADS];
    int deaf, others = 0;
    block_only(0);
    for (int round = 0; round < 3; round++) {
        atomic_store(&leave, false);
        atomic_store(&inside, 0);
        for (int i = 0; i < THREADS; i++) {
            handles[i] = start(stay, NULL);
        }
        wait_for_at_least(&inside, THREADS);
        /* An OS thread of Go that begins just now has the mask of the OS thread that made it. */
        count_masks(&deaf, &others);
        EQ(others, THREADS + 1);
        GT(deaf, 0);
        atomic_store(&leave, true);
        for (int i = 0; i < THREADS; i++) {
            join(handles[i]);
        }
        count_masks(&deaf, &others);
        EQ(others, 1);
        GE(deaf, THREADS);
    }
}
