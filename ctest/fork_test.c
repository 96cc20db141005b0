/*
 * fork_test.c - the child of a fork has the whole library, whenever the fork came and whatever
 * thread made it, and the parent notices nothing. Every child has an alarm that kills it if it
 * hangs, and its parent checks how it ended.
 */
#define _GNU_SOURCE
#include "process.h"
#include "threads.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;

enum { CHILD_SECONDS = 30 };

static void reap(pid_t child, int expected)
{
    int status;
    pid_t reaped;
    GT(child, 0);
    while ((reaped = waitpid(child, &status, 0)) < 0 && errno == EINTR) {
    }
    EQ(reaped, child);
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "the child was killed by signal %d\n", WTERMSIG(status));
    }
    EQ(status, expected << 8);
}

/* fork(), with an alarm that ends the child if it hangs. */
static pid_t fork_mortal(void)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(CHILD_SECONDS);
    }
    GE(child, 0);
    return child;
}

/* ------------------------------------------------------------------------ the parent's threads */

/* The threads that run in the parent when it forks. */
enum { WAITERS = 3, STARTERS = 2, THREADS = 2 + 3 * WAITERS + STARTERS };
static PyThread_handle_t threads[THREADS];
/* A thread holds `theirs`, the thread that forks holds `mine`, and others wait for both. */
static PyThread_type_lock theirs, mine;
static Py_tss_t key = Py_tss_NEEDS_INIT;
static atomic_bool closing;
static atomic_int ready, done;

static void hold_theirs(void *arg)
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

static void wait_for_lock(void *lock)
{
    count(&ready);
    EQ(PyThread_acquire_lock(*(PyThread_type_lock *)lock, WAIT_LOCK), 1);
    PyThread_release_lock(*(PyThread_type_lock *)lock);
    count(&done);
}

static void wait_for_holder(void *arg)
{
    (void)arg;
    count(&ready);
    join(threads[0]);
    count(&done);
}

/* Starts and joins threads, and makes and frees locks and keys, so that a fork can come in the
   middle of any of these. */
static void start_without_end(void *arg)
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
static void open_scene(void)
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
static void close_scene(void)
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
    pythread_get_stats(&stats);
    EQ(stats.threads, 0);
    EQ(stats.handles, 0);
}

/* ------------------------------------------------------------------------ the child */

static void use_lock(PyThread_type_lock lock)
{
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 1);
    EQ(PyThread_acquire_lock(lock, NOWAIT_LOCK), 0);
    EQ(PyThread_acquire_lock_timed(lock, 1000, 0), PY_LOCK_FAILURE);
    PyThread_release_lock(lock);
    EQ(PyThread_acquire_lock_timed(lock, -1, 1), PY_LOCK_ACQUIRED);
    PyThread_release_lock(lock);
}

static void use_identity(void *ident)
{
    EQ(PyThread_get_thread_native_id(), syscall(SYS_gettid));
    if (ident != NULL) {
        EQ(PyThread_get_thread_ident_ex(), *(PyThread_ident_t *)ident);
        EQ(PyThread_get_thread_ident(), *(PyThread_ident_t *)ident);
    }
}

static void use_storage(void)
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

static void answer(void *arg)
{
    struct exchange *exchange = arg;
    use_identity(NULL);
    use_storage();
    EQ(PyThread_acquire_lock(exchange->ping, WAIT_LOCK), 1);
    EQ(exchange->value, 1);
    exchange->value = 2;
    PyThread_release_lock(exchange->pong);
}

static void exit_deep(void *arg)
{
    count(arg);
    PyThread_exit_thread();
}

static void start_and_join(void *counter)
{
    join(start(count, counter));
    join(start(exit_deep, counter));
}

/* Starts threads in every way, and exchanges a value with one of them. */
static void use_threads(void)
{
    enum { ROUNDS = 5 };
    PyThread_handle_t handles[ROUNDS], own;
    PyThread_ident_t ident, other;
    atomic_int counter = 0;
    pythread_stats before, after;
    struct exchange exchange = {PyThread_allocate_lock(), PyThread_allocate_lock(), 1};
    pythread_get_stats(&before);
    EQ(PyThread_acquire_lock(exchange.ping, WAIT_LOCK), 1);
    EQ(PyThread_acquire_lock(exchange.pong, WAIT_LOCK), 1);
    EQ(PyThread_start_joinable_thread(answer, &exchange, &ident, &own), 0);
    PyThread_release_lock(exchange.ping);
    EQ(PyThread_acquire_lock(exchange.pong, WAIT_LOCK), 1);
    EQ(exchange.value, 2);
    join(own);
    EQ(PyThread_join_thread(own), EINVAL);
    PyThread_free_lock(exchange.ping);
    PyThread_free_lock(exchange.pong);
    for (int i = 0; i < ROUNDS; i++) {
        EQ(PyThread_start_joinable_thread(start_and_join, &counter, &other, &handles[i]), 0);
        GT(other, ident);
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
        pythread_get_stats(&after);
        if (after.threads <= before.threads) {
            break;
        }
        sleep_ms(1);
    }
    LE(after.threads, before.threads);
    LE(after.handles, before.handles);
}

/* The thread that forked runs on in the child, with the ident and the values that it had. */
static void use_everything(PyThread_ident_t ident, void *value)
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

static void end(enum end how)
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

TEST(child_of_a_thread_on_a_fresh_os_thread_has_the_whole_library)
{
    open_scene();
    use_fresh_os_threads(1);
    PyThread_handle_t forker = start(fork_in_thread, NULL);
    use_fresh_os_threads(0);
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
    sleep_ms(10);
    EQ(PyThread_detach_thread(joiner), 0);
}

TEST(the_thread_that_forked_can_be_joined_in_the_child)
{
    PyThread_type_lock gate = PyThread_allocate_lock();
    for (int i = 0; i < 2; i++) {
        EQ(PyThread_acquire_lock(gate, WAIT_LOCK), 1);
        use_fresh_os_threads(i);
        forker = start(be_joined_in_child, gate);
        PyThread_release_lock(gate);
        join(forker);
        PyThread_release_lock(gate);
    }
}

/* ------------------------------------------------------------------------ no thread before */

static atomic_int arrived;
static atomic_bool leave;

static void arrive(void *arg)
{
    (void)arg;
    count(&arrived);
    while (!atomic_load(&leave)) {
        sleep_ms(1);
    }
}

/* Has four threads at once, and returns how many goroutines there are then. */
static size_t stay_together(void)
{
    pythread_stats stats;
    PyThread_handle_t handles[4];
    for (int i = 0; i < 4; i++) {
        handles[i] = start(arrive, NULL);
    }
    wait_for_count(&arrived, 4);
    pythread_get_stats(&stats);
    EQ(stats.threads, 4);
    atomic_store(&leave, true);
    for (int i = 0; i < 4; i++) {
        join(handles[i]);
    }
    return stats.goroutines;
}

static void use_first_threads(void)
{
    stay_together();
    use_threads();
}

TEST(child_of_a_process_without_threads_has_the_whole_library)
{
    PyThread_init_thread();
    PyThread_type_lock lock = PyThread_allocate_lock();
    EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
    for (int how = 0; how < ENDS; how++) {
        pid_t child = fork_mortal();
        if (child == 0) {
            PyThread_release_lock(lock);
            use_lock(lock);
            use_first_threads();
            end(how);
            return;
        }
        reap(child, 0);
    }
    use_first_threads();
}

TEST(child_of_a_process_without_threads_runs_goroutines)
{
    pid_t child = fork_mortal();
    if (child == 0) {
        GE(stay_together(), 4);
        exit(0);
    }
    reap(child, 0);
}

static void *fork_and_use_threads(void *how)
{
    pid_t child = fork_mortal();
    if (child == 0) {
        use_first_threads();
        end(*(enum end *)how);
    } else {
        reap(child, 0);
    }
    return how;
}

TEST(child_of_a_pthread_without_threads_ends_with_it)
{
    pthread_t pthread;
    for (enum end how = 0; how < ENDS; how++) {
        EQ(pthread_create(&pthread, NULL, fork_and_use_threads, &how), 0);
        EQ(pthread_join(pthread, NULL), 0);
    }
}

static void *first_start(void *go)
{
    while (!atomic_load((atomic_bool *)go)) {
    }
    join(start(nothing, NULL));
    return go;
}

/* Forks a little later than another thread starts the first thread. */
static void fork_during_first_start(long delay)
{
    atomic_bool go = false;
    pthread_t pthread;
    EQ(pthread_create(&pthread, NULL, first_start, &go), 0);
    atomic_store(&go, true);
    for (volatile long i = 0; i < delay; i++) {
    }
    pid_t child = fork_mortal();
    if (child == 0) {
        use_threads();
        exit(0);
    }
    reap(child, 0);
    EQ(pthread_join(pthread, NULL), 0);
    use_threads();
}

TEST(fork_during_the_first_start_leaves_both_a_library)
{
    for (long i = 0; i < 60; i++) {
        run_in_process(fork_during_first_start, i * 997 % 60 * 1000);
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
            PyThread_handle_t own = start(arrive, NULL);
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
        use_fresh_os_threads(i == 0);
        forkers[i] = start(fork_often, forks_wanted);
    }
    EQ(pthread_create(&pthread, NULL, fork_often_in_pthread, forks_wanted), 0);
    for (int i = 0; i < FORKERS; i++) {
        join(forkers[i]);
    }
    EQ(pthread_join(pthread, NULL), 0);
    /* The scene is closed once nobody else starts threads. */
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

/* ------------------------------------------------------------------------ other ways to fork */

static pid_t raw_clone(void)
{
    return (pid_t)syscall(SYS_clone, (long)SIGCHLD, NULL, NULL, NULL, NULL);
}

static pid_t quiet_fork(void)
{
#if __GLIBC_PREREQ(2, 34)
    return _Fork();
#else
    return raw_clone();
#endif
}

/* Checks what a child can do when no fork handler ran. It returns true in a child that ends by
   returning. */
static bool use_after(pid_t (*fork_quietly)(void), enum end how)
{
    PyThread_ident_t ident = PyThread_get_thread_ident_ex();
    PyThread_type_lock lock = PyThread_allocate_lock();
    PyThread_handle_t handle = start(nothing, NULL);
    EQ(PyThread_tss_set(&key, lock), 0);
    EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
    fflush(NULL);
    pid_t child = fork_quietly();
    if (child == 0) {
        pythread_stats stats;
        alarm(CHILD_SECONDS);
        pythread_get_stats(&stats);
        EQ(stats.os_threads, 0);
        EQ(stats.goroutines, 0);
        use_identity(&ident);
        EQ_PTR(PyThread_tss_get(&key), lock);
        EQ(PyThread_acquire_lock_timed(lock, 1000, 0), PY_LOCK_FAILURE);
        PyThread_release_lock(lock);
        use_lock(lock);
        EQ(PyThread_join_thread(handle), ESRCH);
        use_threads();
        end(how);
        return true;
    }
    reap(child, 0);
    PyThread_free_lock(lock);
    join(handle);
    return false;
}

static bool use_after_each(void)
{
    for (int i = 0; i < 3 * ENDS; i++) {
        if (use_after(quiet_fork, i % ENDS) || use_after(raw_clone, i % ENDS)) {
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
    if (!use_after_each()) {
        join(start(use_after_each_in_thread, NULL));
        use_fresh_os_threads(1);
        join(start(use_after_each_in_thread, NULL));
    }
}

/* A program that was executed prints what it inherited: signals, name, number of threads. */
static void read_output(int in, char *output, size_t size)
{
    size_t length = 0;
    ssize_t got;
    while (length < size - 1 && (got = read(in, output + length, size - 1 - length)) != 0) {
        if (got > 0) {
            length += (size_t)got;
        }
    }
    output[length] = '\0';
}

enum { OUTPUT = 1024 };
static char program[] = "/bin/sh", option[] = "-c",
            command[] = "grep -E '^(Name|Threads|SigBlk|SigIgn|SigCgt|SigPnd|ShdPnd):' "
                        "/proc/self/status; exit 7";
static char *const arguments[] = {program, option, command, NULL};

static void run_program(int way, char output[OUTPUT])
{
    int ends[2];
    pid_t child;
    posix_spawn_file_actions_t actions;
    EQ(pipe2(ends, O_CLOEXEC), 0);
    if (way == 0) {
        child = fork_mortal();
    } else if (way == 1) {
        child = vfork();
    } else {
        EQ(posix_spawn_file_actions_init(&actions), 0);
        EQ(posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO), 0);
        EQ(posix_spawn(&child, program, &actions, NULL, arguments, environ), 0);
        EQ(posix_spawn_file_actions_destroy(&actions), 0);
    }
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execv(program, arguments);
        _exit(127);
    }
    close(ends[1]);
    read_output(ends[0], output, OUTPUT);
    close(ends[0]);
    reap(child, 7);
}

static char outputs[3][OUTPUT];

static void compare_programs(void *arg)
{
    char output[OUTPUT];
    (void)arg;
    for (int way = 0; way < 3; way++) {
        run_program(way, output);
        EQ_STR(output, outputs[way]);
    }
    EQ(system("exit 3"), 3 << 8);
    FILE *pipe = popen("printf hello; exit 5", "r");
    CHECK(pipe != NULL);
    CHECK(fgets(output, sizeof output, pipe) != NULL);
    EQ_STR(output, "hello");
    EQ(pclose(pipe), 5 << 8);
}

TEST(programs_are_executed_as_without_the_library)
{
    for (int way = 0; way < 3; way++) {
        run_program(way, outputs[way]);
        CHECK(strstr(outputs[way], "SigCgt:") != NULL);
    }
    compare_programs(NULL);
    open_scene();
    compare_programs(NULL);
    join(start(compare_programs, NULL));
    use_fresh_os_threads(1);
    join(start(compare_programs, NULL));
    close_scene();
}

static void exec_here(void *arg)
{
    (void)arg;
    execv(program, arguments);
    _exit(127);
}

TEST(a_thread_may_execute_a_program_in_place_of_the_process)
{
    for (int i = 0; i < 20; i++) {
        pid_t child = fork_mortal();
        if (child == 0) {
            int null = open("/dev/null", O_WRONLY);
            EQ(dup2(null, STDOUT_FILENO), STDOUT_FILENO);
            use_fresh_os_threads(i % 2);
            start(arrive, NULL);
            join(start(exec_here, NULL));
        }
        reap(child, 7);
    }
}

/* ------------------------------------------------------------------------ exit */

static void exit_here(void *arg)
{
    (void)arg;
    exit(5);
}

static void *exit_in_pthread(void *arg)
{
    exit_here(arg);
    return arg;
}

TEST(a_process_exits_whatever_its_threads_do)
{
    enum { PLACES = 5, ROUNDS = 10 };
    for (int i = 0; i < PLACES * ROUNDS; i++) {
        pthread_t pthread;
        pid_t child = fork_mortal();
        if (child != 0) {
            reap(child, 5);
            continue;
        }
        open_scene();
        use_fresh_os_threads(i % PLACES == 3);
        if (i % PLACES == 0) {
            exit(5);
        } else if (i % PLACES == 1) {
            _exit(5);
        } else if (i % PLACES == 2) {
            EQ(pthread_create(&pthread, NULL, exit_in_pthread, NULL), 0);
            EQ(pthread_join(pthread, NULL), 0);
        }
        join(start(exit_here, NULL));
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
