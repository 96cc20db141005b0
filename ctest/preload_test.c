/*
 * preload_test.c - what only makes sense under a real Python, and works under pythread-run alone:
 * idents where the C library wants a pthread_t. ctest runs it by pythread-run.
 */
#define _GNU_SOURCE
#include "ends.h"
#include "mains_signals.h"
#include "process.h"
#include "pthreads.h"
#include "threads.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

static atomic_int handled;
static PyThread_ident_t handled_by;

static void handle(int signal)
{
    (void)signal;
    handled_by = PyThread_get_thread_ident_ex();
    atomic_fetch_add(&handled, 1);
}

static void install(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK | SA_RESTART};
    EQ(sigaction(SIGUSR1, &action, NULL), 0);
}

static PyThread_handle_t start_known(void (*func)(void *), void *arg, pthread_t *ident)
{
    PyThread_ident_t started;
    PyThread_handle_t handle;
    EQ(PyThread_start_joinable_thread(func, arg, &started, &handle), 0);
    *ident = started;
    return handle;
}

/* Asks all functions about a thread. They must return the same error; returns it. */
static int ask_of(pthread_t thread)
{
    char name[16];
    clockid_t clock;
    cpu_set_t processors;
    struct sched_param param;
    pthread_attr_t attr;
    int policy, error = pthread_kill(thread, 0);
    EQ(pthread_getname_np(thread, name, sizeof name), error);
    EQ(pthread_getaffinity_np(thread, sizeof processors, &processors), error);
    EQ(pthread_getschedparam(thread, &policy, &param), error);
    EQ(pthread_getcpuclockid(thread, &clock), error);
    EQ(pthread_getattr_np(thread, &attr), error);
    if (error == 0) {
        struct timespec used;
        pthread_attr_destroy(&attr);
        EQ(clock_gettime(clock, &used), 0);
        EQ(pthread_setname_np(thread, name), 0);
        EQ(pthread_setaffinity_np(thread, sizeof processors, &processors), 0);
        EQ(pthread_setschedparam(thread, policy, &param), 0);
    } else {
        EQ(pthread_setname_np(thread, "no thread"), error);
        EQ(pthread_sigqueue(thread, SIGUSR1, (union sigval){0}), error);
    }
    return error;
}

TEST(an_ident_stands_for_the_os_thread_of_a_thread_that_runs)
{
    pthread_t ident;
    sem_t door;
    sem_init(&door, 0, 0);
    install(handle);
    for (int i = 0; i < 500; i++) {
        PyThread_handle_t thread = start_known(wait_at_door, &door, &ident);
        EQ(ask_of(ident), 0);
        EQ(pthread_kill(ident, SIGUSR1), 0);
        wait_for_count(&handled, 2 * i + 1);
        EQ(handled_by, ident);
        EQ(pthread_sigqueue(ident, SIGUSR1, (union sigval){0}), 0);
        wait_for_count(&handled, 2 * i + 2);
        EQ(handled_by, ident);
        sem_post(&door);
        join(thread);
        EQ(ask_of(ident), ESRCH);
    }
}

static void use_own_ident(void *arg)
{
    pthread_t ident = PyThread_get_thread_ident_ex();
    (void)arg;
    EQ(ask_of(ident), 0);
    EQ(ask_of(pthread_self()), 0);
    EQ(pthread_kill(ident, SIGUSR1), 0);
    EQ(handled_by, ident);
    EQ(pthread_setname_np(ident, "own"), 0);
    char name[16];
    EQ(pthread_getname_np(pthread_self(), name, sizeof name), 0);
    EQ_STR(name, "own");
}

TEST(a_thread_may_use_its_own_ident)
{
    install(handle);
    join(start(use_own_ident, NULL));
}

static void end_at_once(void *how)
{
    end(*(enum end *)how);
}

TEST(an_ident_of_a_thread_that_has_ended_is_esrch)
{
    for (int i = 0; i < 400; i++) {
        enum end how = i % ENDS;
        pthread_t ident;
        join(start_known(end_at_once, &how, &ident));
        EQ(ask_of(ident), ESRCH);
        atomic_int counter = 0;
        ident = PyThread_start_new_thread(count, &counter);
        wait_for_count(&counter, 1);
        while (pthread_kill(ident, 0) == 0) {
            sched_yield();
        }
        EQ(ask_of(ident), ESRCH);
    }
}

static void *wait_as_pthread(void *door)
{
    wait_at_door(door);
    return NULL;
}

TEST(a_thread_that_ends_takes_no_signal_of_the_process)
{
    wait_for_signals(kill_and_end);
}

TEST(a_pthread_t_is_what_it_was)
{
    pthread_t pthread;
    sem_t door;
    sem_init(&door, 0, 0);
    join(start(nothing, NULL));
    EQ(pthread_create(&pthread, NULL, wait_as_pthread, &door), 0);
    EQ(ask_of(pthread), 0);
    EQ(ask_of(pthread_self()), 0);
    EQ(ask_of(PyThread_get_thread_ident_ex()), 0);
    sem_post(&door);
    EQ(pthread_join(pthread, NULL), 0);
}

static atomic_int killers_stop;
static _Atomic pthread_t victims[64];

static void *kill_on(void *arg)
{
    uint32_t state = (uint32_t)(uintptr_t)arg;
    while (!atomic_load(&killers_stop)) {
        pthread_t victim = atomic_load(&victims[next_random(&state) % 64]);
        union sigval value = {.sival_ptr = (void *)victim};
        int error = victim == 0 ? 0 : pthread_sigqueue(victim, SIGUSR1, value);
        /* EAGAIN: the user's queue of signals is full. */
        CHECK(error == 0 || error == ESRCH || error == EAGAIN);
    }
    return NULL;
}

static void check_victim(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    pthread_t self = PyThread_get_thread_ident_ex();
    EQ((pthread_t)info->si_value.sival_ptr, self);
    int error = pthread_kill(self, 0);
    CHECK(error == 0 || error == ESRCH);
    atomic_fetch_add(&handled, 1);
}

TEST(signals_to_threads_that_end_meanwhile_hit_no_other_thread)
{
    enum { KILLERS = 3, ROUNDS = 60, THREADS = 64 };
    pthread_t killers[KILLERS];
    PyThread_handle_t handles[THREADS];
    sem_t door;
    sem_init(&door, 0, 0);
    struct sigaction action = {.sa_sigaction = check_victim, .sa_flags = SA_ONSTACK | SA_SIGINFO};
    EQ(sigaction(SIGUSR1, &action, NULL), 0);
    for (int i = 0; i < KILLERS; i++) {
        EQ(pthread_create(&killers[i], NULL, kill_on, (void *)(uintptr_t)(i + 1)), 0);
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < THREADS; i++) {
            pthread_t ident;
            handles[i] = start_known(i % 2 == 0 ? nothing : wait_at_door, &door, &ident);
            atomic_store(&victims[i], ident);
        }
        for (int i = 0; i < THREADS / 2; i++) {
            sem_post(&door);
        }
        for (int i = 0; i < THREADS; i++) {
            join(handles[i]);
        }
    }
    atomic_store(&killers_stop, 1);
    for (int i = 0; i < KILLERS; i++) {
        EQ(pthread_join(killers[i], NULL), 0);
    }
}

static _Atomic PyThread_ident_t told;

static void *ask_when_told(void *unused)
{
    PyThread_ident_t ident;
    while ((ident = atomic_load(&told)) == 0) {
        sched_yield();
    }
    EQ(pthread_kill((pthread_t)ident, 0), 0);
    return unused;
}

TEST(an_ident_is_known_before_anybody_is_told_of_it)
{
    for (int i = 0; i < 500; i++) {
        pthread_t asker;
        PyThread_handle_t handle;
        sem_t door;
        sem_init(&door, 0, 0);
        atomic_store(&told, 0);
        EQ(pthread_create(&asker, NULL, ask_when_told, NULL), 0);
        EQ(PyThread_start_joinable_thread(wait_at_door, &door, (PyThread_ident_t *)&told, &handle),
           0);
        EQ(pthread_join(asker, NULL), 0);
        sem_post(&door);
        join(handle);
    }
}

static void exit_in_handler(int signal)
{
    (void)signal;
    PyThread_exit_thread();
}

static void signal_self(void *arg)
{
    (void)arg;
    pthread_kill(PyThread_get_thread_ident_ex(), SIGUSR1);
    test_fail();
}

TEST(a_handler_may_end_the_thread_that_signals_itself)
{
    install(exit_in_handler);
    for (int i = 0; i < 100; i++) {
        join(start(signal_self, NULL));
    }
}

static void ignore(int signal)
{
    (void)signal;
}

static pthread_t bystander;

static void signal_bystander(int signal)
{
    (void)signal;
    pthread_kill(bystander, SIGUSR2);
}

static void *signal_process(void *unused)
{
    while (!atomic_load(&killers_stop)) {
        kill(getpid(), SIGUSR1);
        sched_yield();
    }
    return unused;
}

TEST(a_handler_may_signal_a_thread_whatever_it_has_interrupted)
{
    struct sigaction action = {.sa_handler = ignore, .sa_flags = SA_ONSTACK | SA_RESTART};
    pthread_t signaller, ident;
    sem_t door;
    sem_init(&door, 0, 0);
    EQ(sigaction(SIGUSR2, &action, NULL), 0);
    install(signal_bystander);
    PyThread_handle_t thread = start_known(wait_at_door, &door, &bystander);
    EQ(pthread_create(&signaller, NULL, signal_process, NULL), 0);
    for (int i = 0; i < 3000; i++) {
        PyThread_handle_t other = start_known(nothing, NULL, &ident);
        int error = pthread_kill(ident, SIGUSR2);
        CHECK(error == 0 || error == ESRCH);
        join(other);
    }
    atomic_store(&killers_stop, 1);
    EQ(pthread_join(signaller, NULL), 0);
    sem_post(&door);
    join(thread);
}

TEST(a_start_that_fails_leaves_nothing)
{
    PyThread_ident_t ident = 7;
    PyThread_handle_t handle = 8;
    errno = 9;
    EQ(PyThread_start_new_thread(NULL, NULL), PYTHREAD_INVALID_THREAD_ID);
    EQ(PyThread_start_joinable_thread(NULL, NULL, &ident, &handle), -1);
    EQ(PyThread_start_joinable_thread(nothing, NULL, NULL, &handle), -1);
    EQ(PyThread_start_joinable_thread(nothing, NULL, &ident, NULL), -1);
    size_t before = allocated_bytes();
    /* A stack that no system has. */
    EQ(PyThread_set_stacksize((size_t)1 << 46), 0);
    errno = 9;
    for (int i = 0; i < 1000; i++) {
        EQ(PyThread_start_joinable_thread(nothing, NULL, &ident, &handle), -1);
        EQ(PyThread_start_new_thread(nothing, NULL), PYTHREAD_INVALID_THREAD_ID);
    }
    EQ(ident, 7);
    EQ(handle, 8);
    EQ(errno, 9);
    LT(allocated_bytes(), before + 16 * 1000);
    EQ(PyThread_set_stacksize(0), 0);
    join(start(nothing, NULL));
    check_nothing_is_left();
}

static pthread_t waiting;

static void ask_of_running(void *ident)
{
    EQ(ask_of(*(pthread_t *)ident), 0);
}

static void fork_and_look(void *arg)
{
    (void)arg;
    pthread_t own = PyThread_get_thread_ident_ex();
    pid_t child = fork();
    if (child == 0) {
        pthread_t ident;
        sem_t door;
        sem_init(&door, 0, 0);
        EQ(ask_of(own), 0);
        join(start(ask_of_running, &own));
        EQ(ask_of(waiting), ESRCH);
        PyThread_handle_t thread = start_known(wait_at_door, &door, &ident);
        EQ(ask_of(ident), 0);
        sem_post(&door);
        join(thread);
        EQ(ask_of(ident), ESRCH);
        _exit(0);
    }
    int status;
    EQ(waitpid(child, &status, 0), child);
    EQ(status, 0);
    EQ(ask_of(own), 0);
    EQ(ask_of(waiting), 0);
}

TEST(the_child_of_a_fork_knows_the_thread_that_it_has)
{
    sem_t door;
    sem_init(&door, 0, 0);
    PyThread_handle_t thread = start_known(wait_at_door, &door, &waiting);
    for (int i = 0; i < 20; i++) {
        join(start(fork_and_look, NULL));
    }
    sem_post(&door);
    join(thread);
}
