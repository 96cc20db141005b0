/*
 * preinit_test.c - calls from before constructors have run, the library's own among them: locks,
 * storage and idents work from the first instruction of the process on, and threads in main's
 * constructors.
 */
#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>
#include <stdbool.h>

static struct {
    PyThread_ident_t ident;
    PyThread_type_lock lock;
    Py_tss_t key;
    int start, join, detach;
    bool timed_out;
    void *value;
    unsigned long native_id;
    pythread_stats stats;
} early = {.key = Py_tss_NEEDS_INIT};

static void call_early(int argc, char **argv, char **environment)
{
    PyThread_ident_t ident;
    PyThread_handle_t handle;
    (void)argc;
    (void)argv;
    (void)environment;
    early.ident = PyThread_get_thread_ident_ex();
    early.native_id = PyThread_get_thread_native_id();
    early.lock = PyThread_allocate_lock();
    PyThread_acquire_lock(early.lock, WAIT_LOCK);
    early.timed_out = PyThread_acquire_lock_timed(early.lock, 1000, 1) == PY_LOCK_FAILURE;
    PyThread_tss_create(&early.key);
    PyThread_tss_set(&early.key, &early);
    early.value = PyThread_tss_get(&early.key);
    PyThread_init_thread();
    early.start = PyThread_start_joinable_thread(nothing, NULL, &ident, &handle);
    early.join = PyThread_join_thread(1);
    early.detach = PyThread_detach_thread(1);
    pythread_get_stats(&early.stats, sizeof early.stats);
}

/* Before all constructors, those of libraries too. */
__attribute__((section(".preinit_array"), used)) static void (*const first)(int, char **,
                                                                            char **) = call_early;

TEST(locks_work_before_constructors)
{
    CHECK(early.timed_out);
    EQ(PyThread_acquire_lock(early.lock, NOWAIT_LOCK), 0);
    PyThread_release_lock(early.lock);
    EQ(PyThread_acquire_lock(early.lock, NOWAIT_LOCK), 1);
}

TEST(storage_works_before_constructors)
{
    EQ_PTR(early.value, &early);
    EQ_PTR(PyThread_tss_get(&early.key), &early);
}

TEST(idents_are_known_before_constructors)
{
    EQ(early.ident, PyThread_get_thread_ident_ex());
    EQ(early.native_id, PyThread_get_thread_native_id());
}

TEST(threads_are_refused_before_constructors)
{
    EQ(early.start, -1);
    EQ(early.join, ESRCH);
    EQ(early.detach, ESRCH);
    EQ(early.stats.threads, 0);
    join(start(nothing, NULL));
}

static int joined_in_constructor = -1;

__attribute__((constructor)) static void start_in_constructor(void)
{
    const char *wanted = getenv("TEST_STARTS_IN_CONSTRUCTOR");
    PyThread_ident_t ident;
    PyThread_handle_t handle;
    if (wanted != NULL && PyThread_start_joinable_thread(nothing, NULL, &ident, &handle) == 0) {
        joined_in_constructor = PyThread_join_thread(handle);
    }
}

TEST(threads_start_in_a_constructor_of_the_program)
{
    if (getenv("TEST_STARTS_IN_CONSTRUCTOR") == NULL) {
        setenv("TEST_STARTS_IN_CONSTRUCTOR", "1", 1);
        char *const arguments[] = {"preinit_test", "threads_start_in_a_constructor_of_the_program",
                                   NULL};
        execv("/proc/self/exe", arguments);
    }
    EQ(joined_in_constructor, 0);
    join(start(nothing, NULL));
}
