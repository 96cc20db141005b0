/*
 * context_test.c - where a function of the library may be called from: docs/contexts.md is the
 * table of what holds, and names the case that shows each row.
 */
#define _GNU_SOURCE
#include "mains_signals.h"
#include "process.h"

#include <dlfcn.h>
#include <fenv.h>
#include <link.h>

/* ------------------------------------------------------------------------ signals to the process
 */

TEST(a_thread_that_ends_takes_no_signal_of_the_process)
{
    wait_for_signals(kill_and_end);
}

static void end_os_threads(long unused)
{
    (void)unused;
    EQ(pthread_key_create(&key_of_process, destroy_nothing), 0);
    wait_for_signals(leave_a_value_and_kill);
}

TEST(a_thread_that_ends_with_its_os_thread_takes_no_signal_of_the_process)
{
    /* On one processor main has not run yet when the thread ends. */
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(sched_getcpu(), &first);
    EQ(sched_setaffinity(0, sizeof first, &first), 0);
    run_in_process(end_os_threads, 0);
}

TEST(a_thread_that_joins_takes_no_signal_of_the_process)
{
    wait_for_signals(kill_and_join);
}

/* ------------------------------------------------------------------------ locks of the system */

/* Returns what the library writes to stderr when a free lock is released. */
static void read_message(char *message, size_t size)
{
    int ends[2], stderr_before = dup(STDERR_FILENO);
    PyThread_type_lock lock = PyThread_allocate_lock();
    EQ(pipe(ends), 0);
    EQ(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    PyThread_release_lock(lock);
    EQ(dup2(stderr_before, STDERR_FILENO), STDERR_FILENO);
    ssize_t length = read(ends[0], message, size - 1);
    GT(length, 0);
    message[length] = '\0';
    PyThread_free_lock(lock);
}

static void write_message(void *unused)
{
    char message[200];
    (void)unused;
    read_message(message, sizeof message);
    CHECK(strstr(message, "lock") != NULL);
}

TEST(all_functions_work_while_the_streams_of_the_c_library_are_locked)
{
    flockfile(stdin);
    flockfile(stdout);
    flockfile(stderr);
    run_all_kinds(20);
    /* Another thread does not own the streams. */
    join(start(write_message, NULL));
}

/* ------------------------------------------------------------------------ variables of threads */

struct image {
    uintptr_t base;
    size_t variables; /* the bytes that the variables of each thread take */
};

static int measure_variables(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct image *image = arg;
    (void)size;
    for (int i = 0; info->dlpi_addr == image->base && i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_TLS) {
            image->variables = info->dlpi_phdr[i].p_memsz;
        }
    }
    return 0;
}

/* The C library keeps 1.6 KB, once, for the variables of all modules that are loaded late. */
TEST(the_library_takes_64_bytes_of_static_storage_beside_gos_8)
{
    Dl_info info;
    struct image image = {.variables = 0};
    CHECK(dladdr(dlsym(RTLD_DEFAULT, "PyThread_allocate_lock"), &info) != 0);
    image.base = (uintptr_t)info.dli_fbase;
    dl_iterate_phdr(measure_variables, &image);
    GT(image.variables, 0);
    LE(image.variables, 64 + 8);
}

/* ------------------------------------------------------------------------ floating-point modes */

/* Enough that Go collects its garbage several times, which takes floating-point arithmetic. */
enum { MANY_STARTS = 20000 };

static void look_at_exceptions(void *exceptions)
{
    *(int *)exceptions = fegetexcept();
}

TEST(go_runs_without_the_callers_floating_point_exceptions)
{
    enum { TRAPS = FE_INEXACT | FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW };
    int exceptions = 0;
    NE(feenableexcept(TRAPS), -1);
    for (int i = 0; i < MANY_STARTS; i++) {
        join(start(nothing, NULL));
    }
    EQ(fegetexcept(), TRAPS);
    /* A thread inherits its creator's modes. */
    join(start(look_at_exceptions, &exceptions));
    EQ(exceptions, TRAPS);
    join(start(nothing, NULL));
}

TEST(starts_and_joins_leave_rounding_and_flags_of_exceptions)
{
    EQ(fesetround(FE_UPWARD), 0);
    EQ(feclearexcept(FE_ALL_EXCEPT), 0);
    EQ(feraiseexcept(FE_OVERFLOW), 0);
    int flags = fetestexcept(FE_ALL_EXCEPT);
    for (int i = 0; i < MANY_STARTS; i++) {
        join(start(nothing, NULL));
    }
    EQ(fegetround(), FE_UPWARD);
    EQ(fetestexcept(FE_ALL_EXCEPT), flags);
}
