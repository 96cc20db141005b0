/*
 * limits_test.c - threads when the system has no more of them, by a limit of processes or a cgroup.
 * What was started runs and can be joined; a start that is impossible returns its error value; when
 * there is room again, starts work again. Each case sets its own limit.
 */
#define _GNU_SOURCE
#include "limits.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

static void check_process_limit(long processes)
{
    become_a_user_without_processes();
    set_soft_limit(RLIMIT_NPROC, (rlim_t)processes);
    check_limit((int)processes);
}

/* Starts threads one at a time, each when the one before it runs, until none can be started. */
static void check_single_starts(long processes)
{
    become_a_user_without_processes();
    set_soft_limit(RLIMIT_NPROC, (rlim_t)processes);
    for (int round = 0; round < 3; round++) {
        int threads = 0;
        while (start_at(threads) == 0) {
            threads++;
            LT(threads, processes);
            wait_until_inside(threads);
        }
        GE(threads, 1);
        join_range(0, threads);
        check_nothing_is_left();
    }
}

TEST(a_start_fails_at_the_limit_of_processes_and_works_again)
{
    const long limits[] = {60, 100, 300};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        run_in_process(check_single_starts, limits[i]);
    }
}

TEST(starts_fail_at_the_limit_of_processes_and_work_again)
{
    const long limits[] = {40, 60, 100, 300, 400, 1000};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        run_in_process(check_process_limit, limits[i]);
    }
}

TEST(starts_fail_at_a_limit_of_few_processes_and_work_again)
{
    const long limits[] = {20, 33, 34, 35};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        run_in_process(check_process_limit, limits[i]);
    }
}

/* If Go needs more OS threads than there can be, each start fails. The next start after the limit
   was lifted works. */
static void check_lifted_limit(int (*lift)(void))
{
    int started = 0;
    for (int i = 0; i < 3; i++) {
        started += start_at(started) == 0;
    }
    join_range(0, started);
    EQ(lift(), 0);
    for (int i = 0; i < 20; i++) {
        start_again_at(i);
    }
    join_range(0, 20);
    check_nothing_is_left();
}

static int lift_process_limit(void)
{
    struct rlimit limit;
    int error = getrlimit(RLIMIT_NPROC, &limit);
    limit.rlim_cur = limit.rlim_max;
    return error != 0 ? error : setrlimit(RLIMIT_NPROC, &limit);
}

static void check_very_few_processes(long processes)
{
    become_a_user_without_processes();
    set_soft_limit(RLIMIT_NPROC, (rlim_t)processes);
    check_lifted_limit(lift_process_limit);
}

TEST(starts_fail_at_a_limit_of_very_few_processes_and_work_when_it_is_lifted)
{
    for (long processes = 1; processes <= 16; processes++) {
        run_in_process(check_very_few_processes, processes);
    }
}

static void check_process_limit_on_own_os_threads(long processes)
{
    use_own_os_threads(1);
    check_process_limit(processes);
}

TEST(starts_of_own_os_threads_fail_at_the_limit_of_processes_and_work_again)
{
    run_in_process(check_process_limit_on_own_os_threads, 50);
}

static pthread_key_t key;

static void leave_behind(void *arg)
{
    EQ(pthread_setspecific(key, &key), 0);
    count(arg);
}

/* Threads of the mode CLEAN come to OS threads on which others of the mode ALWAYS have left
   something. No other thread runs whose permit they could get. */
static void check_mode_changes(long processes)
{
    PyThread_ident_t ident;
    int all = 0;
    EQ(pthread_key_create(&key, NULL), 0);
    become_a_user_without_processes();
    set_soft_limit(RLIMIT_NPROC, (rlim_t)processes);
    for (int i = 0; i < 100; i++) {
        int started = 0;
        pythread_set_reuse(i % 2 == 0 ? PYTHREAD_REUSE_ALWAYS : PYTHREAD_REUSE_CLEAN);
        for (int tries = 1 + i / 2 % 5; tries > 0; tries--) {
            started +=
                PyThread_start_joinable_thread(leave_behind, &ran, &ident, &handles[started]) == 0;
        }
        for (int h = 0; h < started; h++) {
            join(handles[h]);
        }
        all += started;
    }
    EQ(atomic_load(&ran), all);
}

TEST(threads_that_started_run_at_a_limit_whatever_modes_come_before)
{
    if (pythread_set_reuse(PYTHREAD_REUSE_CLEAN) == -1) {
        test_skip("there is no mode CLEAN");
    }
    for (long processes = 14; processes <= 18; processes++) {
        run_in_process(check_mode_changes, processes);
    }
}

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int file = open(path, O_WRONLY);
    if (file < 0 || write(file, text, strlen(text)) < 0) {
        int error = errno;
        rmdir(folder);
        test_skip("%s: %s", path, strerror(error));
    }
    close(file);
}

/* The folder of this process's cgroup of processes. */
static void find_cgroup(char folder[512])
{
    char line[400], path[400];
    const char *hierarchy = NULL;
    FILE *file = fopen("/proc/self/cgroup", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "%*d:pids:%399s", path) == 1) {
            hierarchy = "/pids";
            break;
        }
        if (sscanf(line, "0::%399s", path) == 1) {
            hierarchy = "";
        }
    }
    if (hierarchy == NULL) {
        test_skip("no cgroup of processes");
    }
    snprintf(folder, 512, "/sys/fs/cgroup%s%s", hierarchy, path);
    fclose(file);
}

static char cgroup[560];

/* The cgroup that a process has for the processes that it executes. */
static void name_cgroup(pid_t process)
{
    char own[512];
    find_cgroup(own);
    snprintf(cgroup, sizeof cgroup, "%s/pythread-%ld", own, (long)process);
}

static void enter_cgroup(long processes)
{
    char text[32];
    name_cgroup(getppid());
    if (mkdir(cgroup, 0755) != 0) {
        test_skip("%s: %s", cgroup, strerror(errno));
    }
    snprintf(text, sizeof text, "%ld", processes);
    write_file(cgroup, "pids.max", text);
    write_file(cgroup, "cgroup.procs", "0");
}

static void check_cgroup_limit(long processes)
{
    enter_cgroup(processes);
    check_limit((int)processes);
}

static int lift_cgroup_limit(void)
{
    write_file(cgroup, "pids.max", "max");
    return 0;
}

static void check_cgroup_of_very_few(long processes)
{
    enter_cgroup(processes);
    check_lifted_limit(lift_cgroup_limit);
}

static void check_cgroup(void (*check)(long), long processes)
{
    run_in_process(check, processes);
    name_cgroup(getpid());
    /* The system may need a moment to free what ended there. */
    for (int tries = 0; tries < 1000 && rmdir(cgroup) != 0; tries++) {
        sleep_ms(1);
    }
}

TEST(starts_fail_in_a_full_cgroup_and_work_again)
{
    check_cgroup(check_cgroup_limit, 60);
    check_cgroup(check_cgroup_limit, 200);
}

TEST(starts_fail_in_a_full_cgroup_of_very_few_and_work_when_it_has_room)
{
    check_cgroup(check_cgroup_of_very_few, 1);
    check_cgroup(check_cgroup_of_very_few, 4);
    check_cgroup(check_cgroup_of_very_few, 10);
}

static void *nothing_from_pthread(void *arg)
{
    return arg;
}

TEST(the_library_loads_where_no_thread_can_be)
{
    static const char stage[] = "PYTHREAD_TEST_STAGE";
    if (getenv(stage) == NULL) {
        become_a_user_without_processes();
        set_soft_limit(RLIMIT_NPROC, 1);
        setenv(stage, "1", 1);
        execute_anew();
    }
    pthread_t thread;
    EQ(pthread_create(&thread, NULL, nothing_from_pthread, NULL), EAGAIN);
    PyThread_init_thread();
    EQ(start_all(0, 1), 0);
    check_nothing_is_left();
    set_soft_limit(RLIMIT_NPROC, 100);
    join(start(nothing, NULL));
    check_limit(100);
    /* LeakSanitizer needs a process when this one ends. */
    set_soft_limit(RLIMIT_NPROC, 200);
}
