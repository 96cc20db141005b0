/*
 * fork_before_threads_test.c - a child that was forked before the first thread starts a Go of its
 * own: its threads run on goroutines, as those of its parent do.
 */
#define _GNU_SOURCE
#include "forks.h"
#include "pthreads.h"

/* ------------------------------------------------------------------------ children */

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

static void *begin_threads(void *unused)
{
    use_first_threads();
    return unused;
}

struct child {
    enum end how;
    bool leaves_threads_to_another; /* the pthread that has forked never starts one */
};

static void *fork_and_use_threads(void *arg)
{
    const struct child *self = arg;
    pid_t child = fork_mortal();
    if (child == 0) {
        if (self->leaves_threads_to_another) {
            run_thread(begin_threads, NULL);
        } else {
            use_first_threads();
        }
        end(self->how);
    } else {
        reap(child, 0);
    }
    return arg;
}

TEST(child_of_a_pthread_without_threads_ends_with_it)
{
    struct child child;
    for (child.how = 0; child.how < ENDS; child.how++) {
        child.leaves_threads_to_another = false;
        run_thread(fork_and_use_threads, &child);
        child.leaves_threads_to_another = true;
        run_thread(fork_and_use_threads, &child);
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

/* ------------------------------------------------------------------------ workers */

enum { MOST_WORKERS = 8, BATCHES = 20, BATCH = 50 };

static sem_t door;

static void arrive_and_wait(void *arg)
{
    (void)arg;
    count(&inside);
    wait_at_door(&door);
}

/* Runs 50 threads at once, each on a goroutine, so many times. */
static void serve(int batches)
{
    PyThread_handle_t handles[BATCH];
    pythread_stats stats;
    EQ(sem_init(&door, 0, 0), 0);
    for (int batch = 0; batch < batches; batch++) {
        atomic_store(&inside, 0);
        for (int i = 0; i < BATCH; i++) {
            handles[i] = start(arrive_and_wait, NULL);
        }
        wait_for_count(&inside, BATCH);
        pythread_get_stats(&stats, sizeof stats);
        EQ(stats.threads, BATCH);
        GE(stats.goroutines, BATCH);
        for (int i = 0; i < BATCH; i++) {
            EQ(sem_post(&door), 0);
        }
        for (int i = 0; i < BATCH; i++) {
            join(handles[i]);
        }
    }
    check_nothing_is_left();
}

/* Forks workers that serve at once. Each has workers of its own before, for so many generations. */
static void fork_workers(pid_t (*fork_one)(void), int workers, int generations)
{
    pid_t children[MOST_WORKERS];
    LE(workers, MOST_WORKERS);
    fflush(NULL);
    for (int i = 0; i < workers; i++) {
        children[i] = fork_one();
        GE(children[i], 0);
        if (children[i] == 0) {
            alarm(50);
            if (generations > 1) {
                fork_workers(fork_one, 2, generations - 1);
            }
            serve(BATCHES);
            _exit(0);
        }
    }
    for (int i = 0; i < workers; i++) {
        reap(children[i], 0);
    }
}

TEST(workers_forked_before_the_first_thread_run_goroutines)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    PyThread_init_thread();
    fork_workers(fork, MOST_WORKERS, 1);
    serve(BATCHES);
}

TEST(workers_cloned_before_the_first_thread_run_goroutines)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    PyThread_init_thread();
    fork_workers(fork_without_handlers, MOST_WORKERS, 1);
    serve(BATCHES);
}

TEST(grandchildren_forked_before_the_first_thread_run_goroutines)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    fork_workers(fork, 2, 3);
    fork_workers(fork_without_handlers, 2, 3);
    serve(BATCHES);
}

static void *fork_workers_in_pthread(void *arg)
{
    fork_workers(fork, 2, 2);
    fork_workers(fork_without_handlers, 2, 2);
    return arg;
}

TEST(workers_of_a_pthread_forked_before_the_first_thread_run_goroutines)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    run_thread(fork_workers_in_pthread, NULL);
    serve(BATCHES);
}

TEST(a_daemon_made_before_the_first_thread_runs_goroutines)
{
    int ends[2];
    char byte = 0;
    test_skip_under_asan(ASAN_AFTER_FORK);
    PyThread_init_thread();
    EQ(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    GE(child, 0);
    if (child == 0) {
        EQ(daemon(1, 1), 0);
        alarm(50);
        fork_workers(fork, 2, 1);
        serve(BATCHES);
        EQ(write(ends[1], "!", 1), 1);
        _exit(0);
    }
    reap(child, 0);
    close(ends[1]);
    EQ(read(ends[0], &byte, 1), 1);
    EQ(byte, '!');
}
