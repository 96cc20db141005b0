/*
 * clean_test.c - PYTHREAD_REUSE_CLEAN: no thread can tell that its OS thread was used before, and
 * what runs when a pthread ends has run when its join returns.
 */
#define _GNU_SOURCE
#include "clean.h"

#include <dlfcn.h>
#include <sys/wait.h>

TEST(a_thread_cannot_tell_that_its_os_thread_was_used)
{
    begin();
    for (int i = 0; i < 40 * HABITS * ENDS; i++) {
        struct visit visit = {.habit = i % HABITS, .end = i / HABITS % ENDS};
        join(start(visit_os_thread, &visit));
        check_destructors_ran(i + 1);
    }
}

TEST(many_threads_at_once_cannot_tell_that_their_os_threads_were_used)
{
    begin();
    run_mixed_threads(60 * 64);
}

TEST(detached_threads_cannot_tell_that_their_os_threads_were_used)
{
    enum { THREADS = 2000 };
    static struct visit visits[THREADS];
    begin();
    for (int i = 0; i < THREADS; i++) {
        visits[i] = (struct visit){.habit = i % HABITS, .end = i / HABITS % ENDS};
        NE(PyThread_start_new_thread(visit_os_thread, &visits[i]), PYTHREAD_INVALID_THREAD_ID);
        if (i % 50 == 0) {
            wait_for_count(&ended, i + 1);
        }
    }
    wait_for_count(&ended, THREADS);
    /* Their OS threads end after them. */
    for (int i = 0; i < 20000 && atomic_load(&key_destructions) != atomic_load(&keys_set); i++) {
        sleep_ms(1);
    }
    check_destructors_ran(THREADS);
    check_nothing_is_left();
}

TEST(a_thread_that_leaves_nothing_leaves_its_os_thread_to_others)
{
    enum { THREADS = 1000 };
    int shared = 0;
    unsigned long before = 0;
    begin();
    for (int i = 0; i < THREADS; i++) {
        struct visit visit = {.habit = NOTHING};
        join(start(visit_os_thread, &visit));
        shared += visit.os_thread == before;
        before = visit.os_thread;
    }
    GT(shared, 0);
}

TEST(threads_inherit_the_scheduling_that_their_creator_has_at_the_moment)
{
    struct visit visit = {.habit = NOTHING};
    begin();
    join(start(visit_os_thread, &visit));
    CPU_ZERO(&processors);
    CPU_SET(sched_getcpu(), &processors);
    EQ(sched_setaffinity(0, sizeof processors, &processors), 0);
    for (int i = 0; i < 100; i++) {
        visit.habit = i % HABITS;
        join(start(visit_os_thread, &visit));
    }
}

/* ------------------------------------------------------------------------ destructors */

static PyThread_ident_t ident_inside;
static Py_tss_t tss;
static atomic_int started_by_destructors;

static void use_library(void *value)
{
    EQ_PTR(value, &tss);
    EQ(PyThread_get_thread_ident_ex(), ident_inside);
    EQ_PTR(PyThread_tss_get(&tss), &tss);
    join(start(count, &started_by_destructors));
    PyThread_handle_t handle = start(count, &started_by_destructors);
    EQ(PyThread_detach_thread(handle), 0);
    EQ(PyThread_detach_thread(handle), EINVAL);
    pythread_stats stats;
    pythread_get_stats(&stats);
    EQ(PyThread_get_thread_ident_ex(), ident_inside);
}

static void set_values(void *how)
{
    ident_inside = PyThread_get_thread_ident_ex();
    EQ(PyThread_tss_set(&tss, &tss), 0);
    EQ(pthread_setspecific(key, &tss), 0);
    end(*(enum end *)how);
}

TEST(destructors_use_the_library_as_their_thread)
{
    CHECK(pythread_set_reuse(PYTHREAD_REUSE_CLEAN) != -1);
    EQ(PyThread_tss_create(&tss), 0);
    EQ(pthread_key_create(&key, use_library), 0);
    for (int i = 1; i <= 200; i++) {
        enum end how = i % ENDS;
        join(start(set_values, &how));
        wait_for_count(&started_by_destructors, 2 * i);
    }
}

/* ------------------------------------------------------------------------ modes */

static void soil(void *unused)
{
    (void)unused;
    variable = 4;
    EQ(prctl(PR_SET_NAME, "soiled"), 0);
}

TEST(a_change_from_always_to_clean_holds_for_soiled_os_threads)
{
    struct visit visit = {.habit = NOTHING};
    begin();
    for (int i = 0; i < 50; i++) {
        pythread_set_reuse(PYTHREAD_REUSE_ALWAYS);
        join(start(nothing, NULL));
        join(start(soil, NULL));
        pythread_set_reuse(PYTHREAD_REUSE_CLEAN);
        join(start(visit_os_thread, &visit));
    }
}

TEST(the_environment_sets_the_mode)
{
    const char *const names[] = {"clean", "never", "always"};
    const char *child = getenv("CLEAN_TEST_MODE");
    if (child != NULL) {
        exit(pythread_set_reuse(PYTHREAD_REUSE_NEVER) != atoi(child));
    }
    for (int i = 0; i < 3; i++) {
        char mode[] = {(char)('0' + i), '\0'};
        setenv("PYTHREAD_REUSE", names[i], 1);
        setenv("CLEAN_TEST_MODE", mode, 1);
        pid_t pid = fork();
        if (pid == 0) {
            execute_anew();
        }
        int status;
        EQ(waitpid(pid, &status, 0), pid);
        EQ(status, 0);
    }
}

/* ------------------------------------------------------------------------ modules */

static void call_plugin(void *unused)
{
    int (*plugin_count)(void);
    (void)unused;
    void *plugin = dlopen(CLEAN_PLUGIN, RTLD_NOW);
    CHECK(plugin != NULL);
    *(void **)&plugin_count = dlsym(plugin, "plugin_count");
    EQ(plugin_count(), 6);
    EQ(plugin_count(), 7);
    EQ(dlclose(plugin), 0);
}

TEST(variables_of_modules_that_come_and_go_are_new_in_each_thread)
{
    begin();
    for (int i = 0; i < 500; i++) {
        if (i % 100 == 50) {
            /* It stays now. */
            CHECK(dlopen(CLEAN_PLUGIN, RTLD_NOW) != NULL);
        }
        PyThread_handle_t handle = start(call_plugin, NULL);
        struct visit visit = {.habit = NOTHING};
        join(start(visit_os_thread, &visit));
        join(handle);
    }
}

/* ------------------------------------------------------------------------ many */

TEST(threads_that_leave_something_leave_no_os_thread_and_no_memory)
{
    begin();
    run_threads_in_turn(8000, 0, HABITS, 0, ENDS);
}
