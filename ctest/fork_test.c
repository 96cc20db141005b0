/*
 * fork_test.c - the child of a fork has the whole library, whenever the fork came and whatever
 * thread made it, and the parent notices nothing. Every child has an alarm that kills it if it
 * hangs, and its parent checks how it ended.
 */
#define _GNU_SOURCE
#include "dump_text.h"
#include "forks.h"
#include "signals.h"
#include "pthreads.h"

#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>

/* ------------------------------------------------------------------------ who forks */

/* Forks a child for each way to end. It returns true only in the child that ends by returning. */
static bool fork_each_way(void)
{
    PyThread_ident_t ident = PyThread_get_thread_ident_ex();
    EQ(PyThread_tss_set(&key, &ident), 0);
    for (int how = 0; how < ENDS; how++) {
        pid_t child = fork_mortal();
        if (child == 0) {
            use_everything(ident, &ident);
            end(how);
            return true;
        }
        use_identity(&ident);
        EQ_PTR(PyThread_tss_get(&key), &ident);
        reap(child, 0);
    }
    return false;
}

static void fork_in_thread(void *arg)
{
    (void)arg;
    fork_each_way();
}

static void *fork_in_pthread(void *arg)
{
    fork_each_way();
    return arg;
}

static void *fork_in_pthread_that_started(void *arg)
{
    join(start(nothing, NULL));
    return fork_in_pthread(arg);
}

TEST(child_of_main_has_the_whole_library)
{
    open_scene();
    if (!fork_each_way()) {
        close_scene();
    }
}

TEST(child_of_a_pthread_has_the_whole_library)
{
    pthread_t pthread;
    open_scene();
    EQ(pthread_create(&pthread, NULL, fork_in_pthread, NULL), 0);
    EQ(pthread_join(pthread, NULL), 0);
    EQ(pthread_create(&pthread, NULL, fork_in_pthread_that_started, NULL), 0);
    EQ(pthread_join(pthread, NULL), 0);
    close_scene();
}

TEST(child_of_a_thread_has_the_whole_library)
{
    open_scene();
    join(start(fork_in_thread, NULL));
    close_scene();
}

TEST(child_of_a_thread_on_its_own_os_thread_has_the_whole_library)
{
    open_scene();
    use_own_os_threads(1);
    PyThread_handle_t forker = start(fork_in_thread, NULL);
    use_own_os_threads(0);
    join(forker);
    close_scene();
}

static PyThread_handle_t forker;

/* In the child, the thread that forked can be joined like any other thread. */
static void be_joined_in_child(void *gate)
{
    EQ(PyThread_acquire_lock(gate, WAIT_LOCK), 1);
    pid_t child = fork_mortal();
    if (child != 0) {
        reap(child, 0);
        return;
    }
    EQ(PyThread_join_thread(forker), EDEADLK);
    PyThread_handle_t joiner = start(join_it, &forker);
    check_dump_has("s for the end of thread %llu\n", (unsigned long long)forker);
    EQ(PyThread_detach_thread(joiner), 0);
}

TEST(the_thread_that_forked_can_be_joined_in_the_child)
{
    PyThread_type_lock gate = PyThread_allocate_lock();
    for (int i = 0; i < 2; i++) {
        EQ(PyThread_acquire_lock(gate, WAIT_LOCK), 1);
        use_own_os_threads(i);
        forker = start(be_joined_in_child, gate);
        PyThread_release_lock(gate);
        join(forker);
        PyThread_release_lock(gate);
    }
}

/* ------------------------------------------------------------------------ more forks */

static void fork_generations(void *left)
{
    pid_t child = fork_mortal();
    if (child != 0) {
        reap(child, 0);
        return;
    }
    PyThread_handle_t before = start(nothing, NULL);
    use_threads();
    if ((intptr_t)left > 0) {
        /* The next fork comes from main and from a thread. A thread that forks is its child's main
           thread. */
        PyThread_handle_t handle = start(fork_generations, (void *)((intptr_t)left - 1));
        join(handle);
        fork_generations((void *)((intptr_t)left - 1));
    }
    join(before);
    exit(0);
}

TEST(children_fork_children)
{
    open_scene();
    fork_generations((void *)3);
    close_scene();
}

TEST(a_child_does_not_take_its_parents_threads_for_its_own)
{
    PyThread_handle_t handle = start(nothing, NULL);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork_mortal();
        if (child == 0) {
            PyThread_handle_t own = start(stay, NULL);
            pid_t grandchild = fork_mortal();
            if (grandchild == 0) {
                EQ(PyThread_join_thread(own), ESRCH);
                EQ(PyThread_detach_thread(own), ESRCH);
                EQ(PyThread_join_thread(handle), ESRCH);
                use_threads();
                exit(0);
            }
            reap(grandchild, 0);
            EQ(PyThread_detach_thread(handle), ESRCH);
            atomic_store(&leave, true);
            join(own);
            exit(0);
        }
        reap(child, 0);
    }
    join(handle);
}

static atomic_int forks;

static void fork_often(void *arg)
{
    PyThread_ident_t ident = PyThread_get_thread_ident_ex();
    while (atomic_fetch_add(&forks, 1) < (intptr_t)arg) {
        pid_t child = fork_mortal();
        if (child == 0) {
            atomic_int ran = 0;
            use_identity(&ident);
            start_and_join(&ran);
            EQ(atomic_load(&ran), 2);
            return;
        }
        reap(child, 0);
    }
}

static void *fork_often_in_pthread(void *arg)
{
    fork_often(arg);
    return arg;
}

static void *first_start(void *go)
{
    while (!atomic_load((atomic_bool *)go)) {
    }
    join(start(nothing, NULL));
    return go;
}

/* Starts a thread from one new pthread after another. The library sees each of these OS threads for
   the first time. */
static void *pthread_after_pthread(void *arg)
{
    pthread_t pthread;
    while (!atomic_load(&closing)) {
        atomic_bool go = true;
        EQ(pthread_create(&pthread, NULL, first_start, &go), 0);
        EQ(pthread_join(pthread, NULL), 0);
        sleep_ms(arg != NULL);
    }
    return arg;
}

TEST(a_thousand_forks_under_load)
{
    enum { FORKERS = 3 };
    void *forks_wanted = (void *)1000;
    PyThread_handle_t forkers[FORKERS];
    pthread_t pthread, load;
    open_scene();
    EQ(pthread_create(&load, NULL, pthread_after_pthread, forks_wanted), 0);
    for (int i = 0; i < FORKERS; i++) {
        use_own_os_threads(i == 0);
        forkers[i] = start(fork_often, forks_wanted);
    }
    EQ(pthread_create(&pthread, NULL, fork_often_in_pthread, forks_wanted), 0);
    for (int i = 0; i < FORKERS; i++) {
        join(forkers[i]);
    }
    EQ(pthread_join(pthread, NULL), 0);
    /* The scene is closed once no other thread starts any. */
    atomic_store(&closing, true);
    EQ(pthread_join(load, NULL), 0);
    close_scene();
}

/* Go knows a pthread that has started a thread. Go must not be called when that pthread ends in the
   child. */
static void *start_and_fork(void *arg)
{
    join(start(nothing, NULL));
    pid_t child = fork_mortal();
    if (child == 0) {
        pthread_exit(NULL);
    }
    reap(child, 0);
    return arg;
}

TEST(a_pthread_ends_in_the_child_without_the_parents_runtime)
{
    pthread_t load[2], pthread;
    for (int i = 0; i < 2; i++) {
        EQ(pthread_create(&load[i], NULL, pthread_after_pthread, NULL), 0);
    }
    for (int i = 0; i < 150; i++) {
        EQ(pthread_create(&pthread, NULL, start_and_fork, NULL), 0);
        EQ(pthread_join(pthread, NULL), 0);
    }
    atomic_store(&closing, true);
    for (int i = 0; i < 2; i++) {
        EQ(pthread_join(load[i], NULL), 0);
    }
}

/* ------------------------------------------------------------------------ forks in handlers */

enum { HANDLERS_CHILDREN = 1000 };
static pid_t handlers_children[HANDLERS_CHILDREN];
static atomic_int handlers_forks;
static atomic_bool is_child;

/* The handler of any thread. It returns in the child too. */
static void fork_in_handler(int sig)
{
    int saved = errno, number = atomic_fetch_add(&handlers_forks, 1);
    (void)sig;
    if (number < HANDLERS_CHILDREN) {
        pid_t child = fork();
        if (child == 0) {
            alarm(50);
            atomic_store(&is_child, true);
        }
        handlers_children[number] = child;
    }
    errno = saved;
}

static void *send_signals(void *unused)
{
    while (atomic_load(&handlers_forks) < HANDLERS_CHILDREN) {
        EQ(kill(getpid(), SIGUSR1), 0);
        usleep(300);
    }
    return unused;
}

TEST(a_child_that_a_signal_handler_forks_goes_on_with_the_interrupted_call)
{
    pthread_t sender;
    atomic_int ran = 0;
    sigset_t all, mask;
    if (pythread_get_reuse() == PYTHREAD_REUSE_NEVER) {
        test_skip("a fork that interrupts malloc may wait for ever, and pthreads call malloc");
    }
    join(start(nothing, NULL));
    sigfillset(&all);
    EQ(pthread_sigmask(SIG_SETMASK, &all, &mask), 0);
    set_handler(SIGUSR1, fork_in_handler, SA_RESTART);
    EQ(pthread_create(&sender, NULL, send_signals, NULL), 0);
    EQ(pthread_sigmask(SIG_SETMASK, &mask, NULL), 0);
    while (!atomic_load(&is_child) && atomic_load(&handlers_forks) < HANDLERS_CHILDREN) {
        int error = PyThread_join_thread(start(count, &ran));
        if (error != 0) {
            /* Only the parent has the thread. */
            EQ(error, ESRCH);
            CHECK(atomic_load(&is_child));
        }
    }
    if (atomic_load(&is_child)) {
        use_threads();
        _exit(0);
    }
    EQ(pthread_join(sender, NULL), 0);
    for (int i = 0; i < HANDLERS_CHILDREN; i++) {
        reap(handlers_children[i], 0);
    }
}

/* ------------------------------------------------------------------------ other ways to fork */

static pid_t quiet_fork(void)
{
#if __GLIBC_PREREQ(2, 34)
    return _Fork();
#else
    return fork_without_handlers();
#endif
}

/* A thread of the parent, and the lock that it waits for. */
static PyThread_handle_t waiter;
static PyThread_type_lock waiters_lock;

static void wait_beside(void *unused)
{
    (void)unused;
    PyThread_acquire_lock(waiters_lock, WAIT_LOCK);
}

/* Waits until all other OS threads of this process sleep. An OS thread that begins or ends may hold
   a lock of the C library's malloc, which a child would keep if no handler frees it. */
static void wait_until_others_sleep(void)
{
    bool all_sleep;
    do {
        DIR *tasks = opendir("/proc/self/task");
        CHECK(tasks != NULL);
        all_sleep = true;
        for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
            long task = strtol(entry->d_name, NULL, 10);
            all_sleep &=
                task == 0 || task == (long)PyThread_get_thread_native_id() || is_asleep(task);
        }
        closedir(tasks);
    } while (!all_sleep);
}

/* Checks what a child can do when no fork handler ran. It returns true in a child that ends by
   returning. */
static bool use_after(pid_t (*fork_quietly)(void), enum end how)
{
    PyThread_ident_t ident = PyThread_get_thread_ident_ex();
    PyThread_type_lock lock = PyThread_allocate_lock();
    EQ(PyThread_tss_set(&key, lock), 0);
    EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
    fflush(NULL);
    wait_until_others_sleep();
    pid_t child = fork_quietly();
    if (child == 0) {
        pythread_stats stats;
        alarm(50);
        pythread_get_stats(&stats, sizeof stats);
        EQ(stats.os_threads, 0);
        EQ(stats.goroutines, 0);
        use_identity(&ident);
        EQ_PTR(PyThread_tss_get(&key), lock);
        EQ(PyThread_acquire_lock_timed(lock, 1000, 0), PY_LOCK_FAILURE);
        PyThread_release_lock(lock);
        use_lock(lock);
        EQ(PyThread_join_thread(waiter), ESRCH);
        use_threads();
        end(how);
        return true;
    }
    reap(child, 0);
    PyThread_free_lock(lock);
    return false;
}

static bool use_after_each(void)
{
    for (int i = 0; i < 3 * ENDS; i++) {
        if (use_after(quiet_fork, i % ENDS) || use_after(fork_without_handlers, i % ENDS)) {
            return true;
        }
    }
    return false;
}

static void use_after_each_in_thread(void *arg)
{
    (void)arg;
    use_after_each();
}

TEST(children_of_which_no_handler_is_told_have_a_library)
{
    EQ(PyThread_tss_create(&key), 0);
    waiters_lock = PyThread_allocate_lock();
    EQ(PyThread_acquire_lock(waiters_lock, WAIT_LOCK), 1);
    waiter = start(wait_beside, NULL);
    if (!use_after_each()) {
        join(start(use_after_each_in_thread, NULL));
        use_own_os_threads(1);
        join(start(use_after_each_in_thread, NULL));
        PyThread_release_lock(waiters_lock);
        join(waiter);
        PyThread_free_lock(waiters_lock);
    }
}

/* ------------------------------------------------------------------------ daemons */

/* Does what daemon(3) does, with a second fork. The daemon reports its success through a pipe. */
static void daemonise(void (*work)(void), bool leave_main)
{
    int ends[2];
    char byte = 0;
    EQ(pipe(ends), 0);
    pid_t first = fork_mortal();
    if (first == 0) {
        GT(setsid(), 0);
        if (fork_mortal() != 0) {
            _exit(0);
        }
        work();
        EQ(write(ends[1], "!", 1), 1);
        if (leave_main) {
            pthread_exit(NULL);
        }
        exit(0);
    }
    close(ends[1]);
    reap(first, 0);
    EQ(read(ends[0], &byte, 1), 1);
    EQ(byte, '!');
    /* The pipe ends when the daemon has ended. */
    EQ(read(ends[0], &byte, 1), 0);
    close(ends[0]);
}

TEST(a_daemon_has_threads)
{
    for (int i = 0; i < 2; i++) {
        daemonise(use_first_threads, i);
    }
    use_threads();
    for (int i = 0; i < 2; i++) {
        daemonise(use_threads, i);
    }
    open_scene();
    daemonise(use_threads, false);
    close_scene();
}
