/*
 * trace_test.c - pythread_trace: the file has what threads did, in whatever way the trace ends.
 * cksum_test.sh checks that the file is JSON.
 */
#define _GNU_SOURCE
#include "dump_text.h"
#include "process.h"
#include "pylock.h"
#include "threads.h"

#include <fcntl.h>
#include <sys/stat.h>

/* Begins a trace in a new file, and returns the file. Removes the file's name, so that no case
   leaves a file. */
static int begin_trace(void)
{
    char name[] = "/tmp/pythread-trace-XXXXXX";
    int file = mkstemp(name);
    GE(file, 0);
    EQ(pythread_trace(name), 0);
    unlink(name);
    return file;
}

/* Returns the contents of a file. The next call overwrites them. */
static const char *contents(int file)
{
    static char *text;
    struct stat status;
    EQ(fstat(file, &status), 0);
    text = realloc(text, (size_t)status.st_size + 1);
    CHECK(text != NULL);
    EQ(pread(file, text, (size_t)status.st_size, 0), status.st_size);
    text[status.st_size] = '\0';
    return text;
}

static int count_in(const char *text, const char *what)
{
    int count = 0;
    for (; (text = strstr(text, what)) != NULL; text++) {
        count++;
    }
    return count;
}

/* Ends the trace and returns the contents of its file. */
static const char *end_trace(int file)
{
    EQ(pythread_trace(NULL), 0);
    const char *text = contents(file);
    EQ(text[0], '[');
    EQ_STR(text + strlen(text) - 3, "\n]\n");
    return text;
}

/* Returns how many events with this name are on the track of an OS thread. Each event is a line. */
static int count_on_track(const char *text, unsigned long os_thread, const char *name)
{
    char track[64], ending[64];
    int count = 0;
    snprintf(track, sizeof track, "\"tid\":%lu,", os_thread);
    snprintf(ending, sizeof ending, "\"name\":\"%s\"}", name);
    while (text != NULL) {
        const char *end = strchr(text, '\n');
        const char *found = strstr(text, track), *named = strstr(text, ending);
        bool is_here =
            found != NULL && named != NULL && (end == NULL || (found < end && named < end));
        count += is_here;
        text = end == NULL ? NULL : end + 1;
    }
    return count;
}

/* A thread that waits for the lock or joins the thread `handle`, and notes its OS thread. */
struct actor {
    unsigned long os_thread;
    PyThread_type_lock lock;
    PyThread_handle_t handle;
};

static void acquire_and_release(void *arg)
{
    struct actor *actor = arg;
    actor->os_thread = PyThread_get_thread_native_id();
    EQ(PyThread_acquire_lock(actor->lock, WAIT_LOCK), 1);
    PyThread_release_lock(actor->lock);
}

static void lock_and_unlock(void *arg)
{
    PyMutex_Lock(arg);
    PyMutex_Unlock(arg);
}

TEST(a_wait_for_a_mutex_is_in_the_trace)
{
    char wait[64];
    PyMutex mutex = PyMutex_STATIC_INIT;
    PyMutex_Lock(&mutex);
    int file = begin_trace();
    PyThread_handle_t thread = start(lock_and_unlock, &mutex);
    check_dump_has("for mutex %p", (void *)&mutex);
    PyMutex_Unlock(&mutex);
    join(thread);
    snprintf(wait, sizeof wait, "\"name\":\"wait for mutex %p\"}", (void *)&mutex);
    EQ(count_in(end_trace(file), wait), 1);
}

static void join_other(void *arg)
{
    struct actor *actor = arg;
    actor->os_thread = PyThread_get_thread_native_id();
    join(actor->handle);
}

TEST(starts_threads_waits_and_joins_are_in_the_trace)
{
    char wait[64];
    struct actor actor = {.lock = PyThread_allocate_lock()};
    unsigned long main_thread = PyThread_get_thread_native_id();
    EQ(PyThread_acquire_lock(actor.lock, WAIT_LOCK), 1);
    int file = begin_trace();
    PyThread_handle_t thread = start(acquire_and_release, &actor);
    check_dump_has("for lock %p", actor.lock);
    PyThread_release_lock(actor.lock);
    join(thread);
    const char *text = end_trace(file);
    EQ(count_on_track(text, main_thread, "start thread 1"), 1);
    EQ(count_on_track(text, actor.os_thread, "thread 1"), 1);
    snprintf(wait, sizeof wait, "wait for lock %p", actor.lock);
    EQ(count_on_track(text, actor.os_thread, wait), 1);
    EQ(count_on_track(text, main_thread, "join thread 1"), 1);
    EQ(count_in(text, "\"ph\":\"s\""), 1);
    EQ(count_in(text, "\"ph\":\"f\""), 1);
    PyThread_free_lock(actor.lock);
}

TEST(a_join_that_waits_is_in_the_trace_on_the_joiners_track)
{
    sem_t door;
    EQ(sem_init(&door, 0, 0), 0);
    int file = begin_trace();
    struct actor actor = {.handle = start(wait_at_door, &door)};
    PyThread_handle_t joiner = start(join_other, &actor);
    check_dump_has("s for the end of thread 1\n");
    sem_post(&door);
    join(joiner);
    const char *text = end_trace(file);
    EQ(count_on_track(text, actor.os_thread, "join thread 1"), 1);
    EQ(count_on_track(text, PyThread_get_thread_native_id(), "join thread 2"), 1);
    EQ(count_in(text, "\"name\":\"join thread "), 2);
}

TEST(a_thread_that_has_not_ended_is_in_the_trace)
{
    sem_t door;
    EQ(sem_init(&door, 0, 0), 0);
    int file = begin_trace();
    PyThread_handle_t blocked = start(wait_at_door, &door);
    check_dump_has("thread 1 ");
    EQ(count_in(end_trace(file), "\"name\":\"thread 1\"}"), 1);
    sem_post(&door);
    join(blocked);
}

TEST(each_of_many_threads_is_in_the_trace_once)
{
    enum { THREADS = 2000 / SLOWER, BATCH = 50 };
    PyThread_handle_t threads[BATCH];
    int file = begin_trace();
    for (int i = 0; i < THREADS; i += BATCH) {
        for (int j = 0; j < BATCH; j++) {
            threads[j] = start(nothing, NULL);
        }
        for (int j = 0; j < BATCH; j++) {
            join(threads[j]);
        }
    }
    const char *text = end_trace(file);
    EQ(count_in(text, "\"name\":\"start thread "), THREADS);
    EQ(count_in(text, "\"name\":\"thread "), THREADS);
    EQ(count_in(text, "\"name\":\"join thread "), THREADS);
    EQ(count_in(text, "\"ph\":\"f\""), THREADS);
}

TEST(a_new_trace_ends_the_one_before)
{
    int first = begin_trace();
    join(start(nothing, NULL));
    int second = begin_trace();
    join(start(nothing, NULL));
    const char *text = end_trace(second);
    EQ(count_in(text, "\"name\":\"thread 1\"}"), 0);
    EQ(count_in(text, "\"name\":\"thread 2\"}"), 1);
    text = contents(first);
    EQ(count_in(text, "\"name\":\"thread 1\"}"), 1);
    EQ_STR(text + strlen(text) - 3, "\n]\n");
}

TEST(without_a_trace_nothing_is_ended)
{
    EQ(pythread_trace(NULL), 0);
    EQ(pythread_trace(NULL), 0);
}

TEST(a_file_that_cannot_be_written_is_told)
{
    errno = EDOM;
    EQ(pythread_trace("/no such directory/file"), ENOENT);
    EQ(pythread_trace("/dev/full"), ENOSPC);
    EQ(errno, EDOM);
    join(start(nothing, NULL));
    EQ(pythread_trace(NULL), 0);
}

static atomic_bool goes_on;

static void start_and_join(void *unused)
{
    (void)unused;
    while (atomic_load(&goes_on)) {
        join(start(nothing, NULL));
    }
}

TEST(traces_begin_and_end_while_threads_start_and_end)
{
    enum { STARTERS = 4, TRACES = 100 / SLOWER };
    PyThread_handle_t starters[STARTERS];
    atomic_store(&goes_on, true);
    for (int i = 0; i < STARTERS; i++) {
        starters[i] = start(start_and_join, NULL);
    }
    for (int i = 0; i < TRACES; i++) {
        int file = begin_trace();
        sleep_ms(1);
        end_trace(file);
        close(file);
    }
    atomic_store(&goes_on, false);
    for (int i = 0; i < STARTERS; i++) {
        join(starters[i]);
    }
}

TEST(the_child_of_a_fork_writes_a_trace_of_its_own_alone)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    int file = begin_trace();
    join(start(nothing, NULL));
    pid_t child = fork_mortal();
    if (child == 0) {
        join(start(nothing, NULL));
        int own = begin_trace();
        join(start(nothing, NULL));
        const char *text = end_trace(own);
        EQ(count_in(text, "\"name\":\"thread 1\"}"), 0);
        EQ(count_in(text, "\"name\":\"thread 2\"}"), 0);
        EQ(count_in(text, "\"name\":\"thread 3\"}"), 1);
        exit(0);
    }
    reap(child, 0);
    join(start(nothing, NULL));
    const char *text = end_trace(file);
    EQ(count_in(text, "\"name\":\"thread 1\"}"), 1);
    EQ(count_in(text, "\"name\":\"thread 2\"}"), 1);
    EQ(count_in(text, "\"name\":\"thread 3\"}"), 0);
}

static void start_one(long unused)
{
    (void)unused;
    join(start(nothing, NULL));
    exit(0);
}

TEST(the_environment_begins_a_trace_that_the_exit_ends)
{
    char name[] = "/tmp/pythread-trace-XXXXXX";
    int file = mkstemp(name);
    GE(file, 0);
    EQ(setenv("PYTHREAD_TRACE", name, 1), 0);
    run_in_process(start_one, 0);
    unlink(name);
    const char *text = contents(file);
    EQ(count_in(text, "\"name\":\"thread 1\"}"), 1);
    EQ_STR(text + strlen(text) - 3, "\n]\n");
}
