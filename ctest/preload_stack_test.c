/*
 * preload_stack_test.c - stack sizes are honoured under pythread-run, as a real Python wants it.
 * ctest runs it by pythread-run.
 */
#define _GNU_SOURCE
#include "process.h"
#include "pthreads.h"
#include "threads.h"

static void measure_stack(void *arg)
{
    pthread_attr_t attr;
    EQ(pthread_getattr_np(pthread_self(), &attr), 0);
    EQ(pthread_attr_getstacksize(&attr, arg), 0);
    pthread_attr_destroy(&attr);
}

static size_t stack_of_a_thread(void)
{
    size_t size = 0;
    join(start(measure_stack, &size));
    return size;
}

TEST(stack_sizes_are_honoured)
{
    enum { SMALL = 128 << 10, LARGE = 24 << 20 };
    EQ(PyThread_get_stacksize(), 0);
    EQ(PyThread_set_stacksize(SMALL), 0);
    EQ(PyThread_get_stacksize(), SMALL);
    for (int i = 0; i < 50; i++) {
        EQ(stack_of_a_thread(), SMALL);
    }
    EQ(PyThread_set_stacksize(LARGE), 0);
    EQ(stack_of_a_thread(), LARGE);
    EQ(PyThread_set_stacksize(0), 0);
    EQ(PyThread_get_stacksize(), 0);
    /* The C library may take the last stack again, which is large enough for the usual size. */
    GT(stack_of_a_thread(), SMALL);
}

TEST(a_stack_size_that_is_too_small_is_refused_and_changes_nothing)
{
    EQ(PyThread_set_stacksize(1 << 20), 0);
    EQ(PyThread_set_stacksize(1), -1);
    EQ(PyThread_set_stacksize(32767), -1);
    EQ(PyThread_get_stacksize(), 1 << 20);
    EQ(PyThread_set_stacksize(32768), 0);
    EQ(stack_of_a_thread(), 32768);
}

static void fork_and_measure(void *arg)
{
    (void)arg;
    pid_t child = fork();
    if (child == 0) {
        _exit(stack_of_a_thread() != 256 << 10);
    }
    int status;
    EQ(waitpid(child, &status, 0), child);
    EQ(status, 0);
}

TEST(stack_sizes_are_honoured_in_the_child_of_a_fork)
{
    EQ(PyThread_set_stacksize(256 << 10), 0);
    fork_and_measure(NULL);
    join(start(fork_and_measure, NULL));
}

static int use_stack(size_t bytes)
{
    volatile char frame[8192];
    memset((char *)frame, 1, sizeof frame);
    return bytes > sizeof frame ? use_stack(bytes - sizeof frame) + frame[17] : 0;
}

static void use_most_of_stack(void *depth)
{
    size_t size;
    measure_stack(&size);
    *(int *)depth = use_stack(size / 8 * 7);
}

static void *measure_pthreads_stack(void *size)
{
    measure_stack(size);
    return NULL;
}

TEST(a_thread_uses_its_stack_to_the_end_and_pthreads_keep_theirs)
{
    size_t before, after;
    int depth = 0;
    run_thread(measure_pthreads_stack, &before);
    EQ(PyThread_set_stacksize(64 << 20), 0);
    join(start(use_most_of_stack, &depth));
    GT(depth, (64 << 20) / 8192 / 2);
    run_thread(measure_pthreads_stack, &after);
    EQ(after, before);
}

static pthread_key_t key;
static atomic_int ended;

/* The OS thread that runs this destructor has left Go: another one calls Go for it. */
static void start_from_destructor(void *unused)
{
    (void)unused;
    join(start(count, &ended));
}

static void leave_a_value(void *unused)
{
    (void)unused;
    EQ(pthread_setspecific(key, &ended), 0);
    EQ(PyThread_set_stacksize((size_t)sysconf(_SC_THREAD_STACK_MIN) < 32768
                                  ? 32768
                                  : (size_t)sysconf(_SC_THREAD_STACK_MIN)),
       0);
}

TEST(a_destructor_starts_threads_whatever_the_stack_size)
{
    if (pythread_set_reuse(PYTHREAD_REUSE_CLEAN) == -1) {
        pythread_set_reuse(PYTHREAD_REUSE_NEVER);
    }
    EQ(pthread_key_create(&key, start_from_destructor), 0);
    for (int i = 1; i <= 50; i++) {
        EQ(PyThread_set_stacksize(0), 0);
        join(start(leave_a_value, NULL));
        wait_for_count(&ended, i);
    }
}
