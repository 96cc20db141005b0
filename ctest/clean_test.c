/*
 * clean_test.c - PYTHREAD_REUSE_CLEAN: no thread can tell that its OS thread was used before, and
 * what runs when a pthread ends has run when its join returns.
 */
#define _GNU_SOURCE
#include "habits.h"

#include <dlfcn.h>
#include <link.h>
#include <signal.h>
#include <sys/wait.h>

/* ------------------------------------------------------------------------ one habit at a time */

/* Runs a thread that leaves nothing. True if its OS thread had been used. */
static bool visit_cleanly(void)
{
    struct visit visit = {.habit = NOTHING};
    join(start(visit_os_thread, &visit));
    return visit.is_shared;
}

/*
 * Runs threads that leave one thing, and end in all ways. After each come threads that look for it,
 * and leave nothing. They find it if they get the OS thread of the first. They are so many that the
 * next thread with the habit gets an OS thread that others use.
 */
static void check_habit(enum habit habit)
{
    enum { ROUNDS = 100, CLEAN_THREADS = 6 };
    int shared = 0;
    begin();
    for (int i = 0; i < ROUNDS; i++) {
        struct visit visit = {.habit = habit, .end = i % ENDS};
        join(start(visit_os_thread, &visit));
        shared += visit.is_shared;
        for (int j = 0; j < CLEAN_THREADS; j++) {
            visit_cleanly();
        }
        check_destructors_ran((CLEAN_THREADS + 1) * (i + 1));
    }
    GT(shared, ROUNDS / 2);
}

TEST(thread_local_variables_are_new_after_a_thread_that_changed_them)
{
    check_habit(VARIABLE);
}

TEST(keys_are_empty_after_a_thread_that_set_one)
{
    check_habit(KEY);
}

TEST(keys_from_the_33rd_on_are_empty_after_a_thread_that_set_one)
{
    check_habit(LATE_KEY);
}

TEST(objects_are_constructed_anew_after_a_thread_that_used_them)
{
    check_habit(OBJECT);
}

TEST(a_thread_has_its_creators_name_after_one_that_changed_its_own)
{
    check_habit(NAME);
}

TEST(a_thread_has_its_creators_processors_after_one_that_changed_its_own)
{
    check_habit(PROCESSORS);
}

TEST(a_thread_has_its_creators_nice_value_after_one_that_changed_its_own)
{
    check_habit(NICE);
}

/* ------------------------------------------------------------------------ many at once */

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
    /* The OS threads end after their threads. */
    for (int i = 0; i < 20000 && atomic_load(&key_destructions) != atomic_load(&keys_set); i++) {
        sleep_ms(1);
    }
    check_destructors_ran(THREADS);
    check_nothing_is_left();
}

/* Checks that most of the threads that leave nothing have used OS threads. */
static void check_sharing(void)
{
    enum { THREADS = 1000 };
    int shared = 0;
    for (int i = 0; i < THREADS; i++) {
        shared += visit_cleanly();
    }
    GT(shared, THREADS / 2);
}

TEST(a_thread_that_leaves_nothing_leaves_its_os_thread_to_others)
{
    begin();
    check_sharing();
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
    pythread_get_stats(&stats, sizeof stats);
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

/* The signal that the thread blocks. Its destructors block this one and those that Go handles. */
enum { BLOCKED = SIGUSR1 };
static atomic_int right_masks;

static void look_at_mask(void *unused)
{
    sigset_t mask;
    (void)unused;
    EQ(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
    for (int sig = 1; sig < NSIG; sig++) {
        if (sig != SIGURG && sig != SIGPIPE && sigismember(&mask, sig) != (sig == BLOCKED)) {
            return;
        }
    }
    atomic_fetch_add(&right_masks, 1);
}

/* C++ registers destructors by this function. */
extern int __cxa_thread_atexit_impl(void (*destroy)(void *), void *object, void *module);
extern void *__dso_handle;

static void block_one(void *how)
{
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, BLOCKED);
    EQ(pthread_sigmask(SIG_SETMASK, &mask, NULL), 0);
    EQ(pthread_setspecific(key, &mask), 0);
    EQ(__cxa_thread_atexit_impl(look_at_mask, NULL, &__dso_handle), 0);
    end(*(enum end *)how);
}

TEST(destructors_run_with_the_signal_mask_of_their_thread)
{
    enum { ROUNDS = 100, CLEAN_THREADS = 6 };
    CHECK(pythread_set_reuse(PYTHREAD_REUSE_CLEAN) != -1);
    EQ(pthread_key_create(&key, look_at_mask), 0);
    for (int i = 1; i <= ROUNDS; i++) {
        enum end how = i % ENDS;
        join(start(block_one, &how));
        EQ(atomic_load(&right_masks), 2 * i);
        /* So that the next thread has an OS thread that others use. */
        for (int j = 0; j < CLEAN_THREADS; j++) {
            join(start(nothing, NULL));
        }
    }
}

/* ------------------------------------------------------------------------ modes */

static void leave_name(void *unused)
{
    (void)unused;
    variable = 4;
    EQ(prctl(PR_SET_NAME, "changed"), 0);
}

TEST(a_change_from_always_to_clean_holds_for_used_os_threads)
{
    struct visit visit = {.habit = NOTHING};
    begin();
    for (int i = 0; i < 50; i++) {
        pythread_set_reuse(PYTHREAD_REUSE_ALWAYS);
        join(start(nothing, NULL));
        join(start(leave_name, NULL));
        pythread_set_reuse(PYTHREAD_REUSE_CLEAN);
        join(start(visit_os_thread, &visit));
    }
}

TEST(the_environment_sets_the_mode)
{
    const char *const names[] = {"clean", "never", "always"};
    const char *child = getenv("CLEAN_TEST_MODE");
    if (child != NULL) {
        exit(pythread_get_reuse() != atoi(child));
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

/* The plugins call this function of the program when they are loaded and unloaded. */
extern void (*plugin_calls)(int (*plugin_count)(void));
void (*plugin_calls)(int (*plugin_count)(void));

struct plugin {
    void *handle;
    int (*count)(void);
};

static struct plugin load_plugin(const char *path)
{
    struct plugin plugin = {.handle = dlopen(path, RTLD_NOW)};
    if (plugin.handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        test_fail();
    }
    *(void **)&plugin.count = dlsym(plugin.handle, "plugin_count");
    return plugin;
}

static void use_variable(void *count)
{
    int (*plugin_count)(void);
    memcpy(&plugin_count, count, sizeof plugin_count);
    EQ(plugin_count(), 6);
    EQ(plugin_count(), 7);
}

static void call_plugin(void *unused)
{
    (void)unused;
    struct plugin plugin = load_plugin(CLEAN_PLUGIN);
    use_variable(&plugin.count);
    EQ(dlclose(plugin.handle), 0);
}

TEST(variables_of_modules_that_come_and_go_are_new_in_each_thread)
{
    test_skip_under_asan("LeakSanitizer keeps its own list of the modules' variables");
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

TEST(threads_that_use_variables_of_a_module_leave_their_os_threads_to_others)
{
    test_skip_under_asan("LeakSanitizer keeps its own list of the modules' variables");
    enum { THREADS = 1000 };
    int shared = 0;
    begin();
    struct plugin plugin = load_plugin(CLEAN_PLUGIN);
    for (int i = 0; i < THREADS; i++) {
        join(start(use_variable, &plugin.count));
        shared += visit_cleanly();
    }
    GT(shared, THREADS / 2);
}

TEST(variables_of_a_late_module_in_the_static_area_are_new_in_each_thread)
{
    test_skip_under_asan("LeakSanitizer keeps its own list of the modules' variables");
    enum { THREADS = 200, CLEAN_THREADS = 6 };
    begin();
    check_sharing();
    struct plugin plugin = load_plugin(CLEAN_STATIC_PLUGIN);
    for (int i = 0; i < THREADS; i++) {
        join(start(use_variable, &plugin.count));
        for (int j = 0; j < CLEAN_THREADS; j++) {
            visit_cleanly();
        }
    }
    check_sharing();
}

TEST(threads_share_os_threads_however_many_modules_there_are)
{
    enum { MODULES = 200 };
    char command[500], name[sizeof "/tmp/clean-test-XXXXXX/000"];
    char dir[] = "/tmp/clean-test-XXXXXX";
    begin();
    CHECK(mkdtemp(dir) != NULL);
    for (int i = 0; i < MODULES; i++) {
        snprintf(name, sizeof name, "%s/%03d", dir, i);
        snprintf(command, sizeof command, "cp %s %s", CLEAN_PLUGIN, name);
        EQ(system(command), 0);
        load_plugin(name);
        unlink(name);
    }
    rmdir(dir);
    check_sharing();
}

/* Threads do these things while the loader is busy. One thing is left out, because it would wait
   for the loader: the registration of a C++ object's destructor. */
static int count_module(struct dl_phdr_info *info, size_t size, void *count)
{
    (void)info;
    (void)size;
    ++*(int *)count;
    return 0;
}

static void visit_busy_loader(void *arg)
{
    int modules = 0;
    dl_iterate_phdr(count_module, &modules);
    GT(modules, 1);
    visit_os_thread(arg);
}

static void run_threads_of_all_habits(void)
{
    struct visit visits[HABITS * ENDS];
    PyThread_handle_t handles[HABITS * ENDS];
    for (int i = 0; i < HABITS * ENDS; i++) {
        enum habit habit = i % HABITS == OBJECT ? NOTHING : i % HABITS;
        visits[i] = (struct visit){.habit = habit, .end = i / HABITS};
        handles[i] = start(visit_busy_loader, &visits[i]);
    }
    for (int i = 0; i < HABITS * ENDS; i++) {
        join(handles[i]);
    }
}

static void run_threads_of_plugin(int (*plugin_count)(void))
{
    enum { THREADS = 20 };
    PyThread_handle_t handles[THREADS];
    for (int i = 0; i < THREADS; i++) {
        handles[i] = start(use_variable, &plugin_count);
    }
    for (int i = 0; i < THREADS; i++) {
        join(handles[i]);
    }
    run_threads_of_all_habits();
}

static void *call_plugin_in_pthread(void *unused)
{
    call_plugin(unused);
    return NULL;
}

TEST(constructors_and_destructors_of_modules_start_and_join_threads)
{
    pthread_t pthreads[2];
    alarm(50);
    begin();
    /* The C library loads the unwinder when a thread first exits. */
    run_threads_of_all_habits();
    plugin_calls = run_threads_of_plugin;
    for (int i = 0; i < 5; i++) {
        /* So that the next threads have used OS threads. */
        check_sharing();
        call_plugin(NULL);
        check_sharing();
        join(start(call_plugin, NULL));
        for (int j = 0; j < 2; j++) {
            EQ(pthread_create(&pthreads[j], NULL, call_plugin_in_pthread, NULL), 0);
        }
        for (int j = 0; j < 2; j++) {
            EQ(pthread_join(pthreads[j], NULL), 0);
        }
    }
    plugin_calls = NULL;
}

/* dl_iterate_phdr calls this, and holds a lock meanwhile. */
static int start_in_module(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)info;
    (void)size;
    (void)unused;
    for (int i = 0; i < HABITS * ENDS; i++) {
        struct visit visit = {.habit = i % HABITS == OBJECT ? NOTHING : i % HABITS,
                              .end = i / HABITS};
        join(start(visit_os_thread, &visit));
    }
    return 1;
}

static void visit_each_module(void *unused)
{
    (void)unused;
    dl_iterate_phdr(start_in_module, NULL);
}

TEST(a_function_that_looks_at_modules_starts_and_joins_threads)
{
    alarm(50);
    begin();
    for (int i = 0; i < 5; i++) {
        check_sharing();
        visit_each_module(NULL);
        check_sharing();
        join(start(visit_each_module, NULL));
    }
}

/* ------------------------------------------------------------------------ many */

TEST(threads_that_leave_something_leave_no_os_thread_and_no_memory)
{
    begin();
    run_threads_in_turn(8000, 0, HABITS, 0, ENDS);
}
