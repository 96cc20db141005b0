/*
 * limits_test.c - threads when the system has no more of them, because processes, address space or
 * mappings are used up. What was started runs and can be joined; a start that is impossible returns
 * its error value; when there is room again, starts work again. Each case sets its own limit.
 */
#define _GNU_SOURCE
#include "ends.h"
#include "process.h"
#include "threads.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ------------------------------------------------------------------------ limits */

/* Becomes a user that has no other process, since the limit counts a user's processes and does not
   hold for root. If it was root, it keeps the right to read all files, so that exec works. */
static void become_nobody(void)
{
    const uint32_t reads = 1U << CAP_DAC_READ_SEARCH;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct kept[2] = {{reads, reads, reads}};
    uid_t user = 100000 + (uid_t)getpid();
    if (geteuid() != 0) {
        if (unshare(CLONE_NEWUSER) != 0) {
            test_skip("neither root nor allowed a user namespace");
        }
        return;
    }
    EQ(prctl(PR_SET_KEEPCAPS, 1), 0);
    EQ(setresuid(user, user, user), 0);
    EQ(syscall(SYS_capset, &header, kept), 0);
    EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0), 0);
}

/* ------------------------------------------------------------------------ threads that block */

enum { MOST = 20000 };

/* Thread i waits at door i. */
static sem_t doors[MOST];
static PyThread_handle_t handles[MOST];
static atomic_int inside;

static void wait_inside(void *door)
{
    count(&inside);
    wait_at_door(door);
    atomic_fetch_sub(&inside, 1);
}

static void wait_until_inside(int expected)
{
    for (int i = 0; i < 40000 && atomic_load(&inside) != expected; i++) {
        sleep_ms(1);
    }
    EQ(atomic_load(&inside), expected);
}

/* Starts a thread that waits at door i. If none can be started, it returns an error and changes
   nothing. */
static int start_at(int i)
{
    PyThread_ident_t ident = 11;
    handles[i] = 22;
    errno = 33;
    EQ(sem_init(&doors[i], 0, 0), 0);
    int result = PyThread_start_joinable_thread(wait_inside, &doors[i], &ident, &handles[i]);
    if (result != 0) {
        EQ(result, -1);
        EQ(ident, 11);
        EQ(handles[i], 22);
    }
    EQ(errno, 33);
    return result;
}

static atomic_int ran;

/* Starts threads at the doors from begin to end, or until no thread of any kind can be started.
   Returns the first door without a thread. */
static int start_all(int begin, int end)
{
    int next = begin, detached = 0;
    while (next < end) {
        if (start_at(next) == 0) {
            next++;
        } else if (PyThread_start_new_thread(count, &ran) != PYTHREAD_INVALID_THREAD_ID) {
            detached++;
        } else {
            break;
        }
    }
    wait_for_count(&ran, detached);
    atomic_store(&ran, 0);
    return next;
}

static void join_range(int begin, int end)
{
    for (int i = begin; i < end; i++) {
        EQ(sem_post(&doors[i]), 0);
    }
    for (int i = begin; i < end; i++) {
        join(handles[i]);
    }
}

/* The system may need a moment to free an OS thread that has ended. */
static void start_again_at(int i)
{
    int result = -1;
    for (int tries = 0; tries < 20000 && result != 0; tries++) {
        if ((result = start_at(i)) != 0) {
            sleep_ms(1);
        }
    }
    EQ(result, 0);
}

/* Checks all that is promised at a limit that lets fewer than `most` threads start, several times.
 */
static void check_limit(int most)
{
    for (int round = 0; round < 3; round++) {
        pythread_stats stats;
        int count = start_all(0, most);
        GE(count, 1);
        LT(count, most);
        wait_until_inside(count);
        /* A detached thread ends a little after it has counted. */
        for (int i = 0; i < 20000; i++) {
            pythread_get_stats(&stats);
            if (stats.threads == (size_t)count) {
                break;
            }
            sleep_ms(1);
        }
        EQ(stats.threads, count);
        EQ(stats.handles, count);
        int third = (count + 2) / 3;
        join_range(0, third);
        for (int i = 0; i < third; i++) {
            start_again_at(i);
        }
        join_range(0, count);
        check_nothing_is_left();
    }
}

/* ------------------------------------------------------------------------ processes */

static void check_process_limit(long processes)
{
    become_nobody();
    set_soft_limit(RLIMIT_NPROC, (rlim_t)processes);
    check_limit((int)processes);
}

/* Starts threads one at a time, each when the one before it runs, until none can be started. */
static void check_single_starts(long processes)
{
    become_nobody();
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

/* Go may need more OS threads than there can be: then no thread starts, and none when asked again.
   When the limit is lifted the next one does. */
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
    become_nobody();
    set_soft_limit(RLIMIT_NPROC, (rlim_t)processes);
    check_lifted_limit(lift_process_limit);
}

TEST(starts_fail_at_a_limit_of_very_few_processes_and_work_when_it_is_lifted)
{
    for (long processes = 1; processes <= 16; processes++) {
        run_in_process(check_very_few_processes, processes);
    }
}

static void check_fresh_process_limit(long processes)
{
    use_fresh_os_threads(1);
    check_process_limit(processes);
}

TEST(starts_of_fresh_os_threads_fail_at_the_limit_of_processes_and_work_again)
{
    run_in_process(check_fresh_process_limit, 50);
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
        become_nobody();
        set_soft_limit(RLIMIT_NPROC, 1);
        setenv(stage, "1", 1);
        execl("/proc/self/exe", "limits_test", __func__, NULL);
        test_skip("/proc/self/exe: %s", strerror(errno));
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

/* ------------------------------------------------------------------------ bursts */

enum { STARTERS = 6, BURST = 2000, TRIES = 100 };

/* Threads live for a generation: all of them end when the next one begins. */
static atomic_uint generation;
static atomic_long started;
static atomic_int stopped;

static void live(void *seen)
{
    unsigned now = (unsigned)(uintptr_t)seen;
    while (atomic_load(&generation) == now) {
        syscall(SYS_futex, &generation, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
    }
}

static void next_generation(void)
{
    atomic_fetch_add(&generation, 1);
    syscall(SYS_futex, &generation, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

struct starts {
    int count;
    PyThread_handle_t handles[BURST];
};

static void join_all(struct starts *starts)
{
    for (int i = 0; i < starts->count; i++) {
        join(starts->handles[i]);
    }
    starts->count = 0;
}

/* Starts threads over and over, most often in vain, while those of the generation before end. */
static void start_on(void *arg)
{
    struct starts *now = arg, *before = now + 1;
    while (atomic_load(&stopped) == 0) {
        unsigned seen = atomic_load(&generation);
        for (int tries = 0; atomic_load(&generation) == seen && atomic_load(&stopped) == 0;
             tries++) {
            PyThread_ident_t ident;
            if (now->count < BURST &&
                PyThread_start_joinable_thread(live, (void *)(uintptr_t)seen, &ident,
                                               &now->handles[now->count]) == 0) {
                now->count++;
                atomic_fetch_add(&started, 1);
            } else {
                sched_yield();
            }
            if (tries == TRIES) {
                join_all(before);
            }
        }
        join_all(before);
        struct starts *swap = now;
        now = before;
        before = swap;
    }
    join_all(before);
    join_all(now);
}

/* Once the limit is set. */
static sem_t begin;

static void *start_on_from_pthread(void *arg)
{
    wait_at_door(&begin);
    start_on(arg);
    return NULL;
}

static void check_burst(long processes)
{
    static struct starts starts[STARTERS][2];
    PyThread_ident_t ident;
    pthread_t pthreads[STARTERS / 2];
    become_nobody();
    EQ(sem_init(&begin, 0, 0), 0);
    for (int i = 0; i < STARTERS / 2; i++) {
        EQ(pthread_create(&pthreads[i], NULL, start_on_from_pthread, starts[2 * i]), 0);
    }
    set_soft_limit(RLIMIT_NPROC, (rlim_t)processes);
    for (int i = 0; i < STARTERS / 2; i++) {
        EQ(sem_post(&begin), 0);
    }
    for (int i = 0; i < STARTERS / 2; i++) {
        int result = -1;
        for (int tries = 0; tries < 20000 && result != 0; tries++) {
            result =
                PyThread_start_joinable_thread(start_on, starts[2 * i + 1], &ident, &handles[i]);
            next_generation();
            sleep_ms(1);
        }
        EQ(result, 0);
    }
    long long end = monotonic_ns() + 1000000000;
    for (int round = 0; monotonic_ns() < end; round++) {
        long before = atomic_load(&started);
        next_generation();
        for (int i = 0; i < 20000 && atomic_load(&started) == before; i++) {
            sleep_ms(1);
        }
        GT(atomic_load(&started), before);
        sleep_ms(round % 16);
    }
    atomic_store(&stopped, 1);
    for (int i = 0; i < STARTERS; i++) {
        next_generation();
        sleep_ms(10);
    }
    for (int i = 0; i < STARTERS / 2; i++) {
        EQ(pthread_join(pthreads[i], NULL), 0);
        join(handles[i]);
    }
    check_nothing_is_left();
}

TEST(bursts_at_the_limit_of_processes_neither_hang_nor_lose_a_thread)
{
    const long limits[] = {60, 100, 300, 1000};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        run_in_process(check_burst, limits[i]);
    }
}

TEST(bursts_at_a_limit_of_few_processes_neither_hang_nor_lose_a_thread)
{
    run_in_process(check_burst, 30);
    run_in_process(check_burst, 45);
}

TEST(bursts_at_a_limit_of_very_few_processes_neither_hang_nor_lose_a_thread)
{
    run_in_process(check_burst, 20);
}

/* Threads of a burst leave when all are there that were started. So a start that succeeds must lead
   to a thread that runs, whatever the others wait for. */
enum { REFUSALS = 20 };
static atomic_int accepted, arrived, left;
static sem_t gate, burst_ends;
static pthread_key_t soiled;

/* The last two bits of the habit say how the thread ends, and the bit before whether it leaves
   something behind. */
static void wait_for_burst(void *habit)
{
    count(&arrived);
    wait_at_door(&gate);
    if (((uintptr_t)habit & 4) != 0) {
        EQ(pthread_setspecific(soiled, &gate), 0);
    }
    count(&left);
    end((enum end)((uintptr_t)habit % ENDS));
}

/* Starts threads, joinable and detached, until starts have failed some times. */
static void *start_burst(void *arg)
{
    struct starts *starts = arg;
    for (;;) {
        int failed = 0;
        wait_at_door(&begin);
        if (atomic_load(&stopped) != 0) {
            return NULL;
        }
        for (uintptr_t i = 0; failed < REFUSALS; i++) {
            PyThread_ident_t ident;
            void *habit = (void *)(i / 2);
            if (i % 2 == 0 ? PyThread_start_joinable_thread(wait_for_burst, habit, &ident,
                                                            &starts->handles[starts->count]) == 0
                           : PyThread_start_new_thread(wait_for_burst, habit) !=
                                 PYTHREAD_INVALID_THREAD_ID) {
                starts->count += i % 2 == 0;
                count(&accepted);
            } else {
                failed++;
            }
        }
        EQ(sem_post(&burst_ends), 0);
    }
}

static void check_whole_burst(long processes, int reuse)
{
    static struct starts starts[STARTERS];
    pthread_t pthreads[STARTERS];
    pythread_set_reuse(reuse);
    become_nobody();
    EQ(pthread_key_create(&soiled, nothing), 0);
    EQ(sem_init(&begin, 0, 0), 0);
    EQ(sem_init(&gate, 0, 0), 0);
    EQ(sem_init(&burst_ends, 0, 0), 0);
    for (int i = 0; i < STARTERS; i++) {
        EQ(pthread_create(&pthreads[i], NULL, start_burst, &starts[i]), 0);
    }
    set_soft_limit(RLIMIT_NPROC, (rlim_t)processes);
    for (int round = 0; round < 4; round++) {
        atomic_store(&accepted, 0);
        atomic_store(&arrived, 0);
        atomic_store(&left, 0);
        for (int i = 0; i < STARTERS; i++) {
            EQ(sem_post(&begin), 0);
        }
        for (int i = 0; i < STARTERS; i++) {
            wait_at_door(&burst_ends);
        }
        GE(atomic_load(&accepted), 1);
        LT(atomic_load(&accepted), processes);
        wait_for_count(&arrived, atomic_load(&accepted));
        for (int i = 0; i < atomic_load(&accepted); i++) {
            EQ(sem_post(&gate), 0);
        }
        for (int i = 0; i < STARTERS; i++) {
            join_all(&starts[i]);
        }
        check_nothing_is_left();
        EQ(atomic_load(&left), atomic_load(&accepted));
    }
    atomic_store(&stopped, 1);
    for (int i = 0; i < STARTERS; i++) {
        EQ(sem_post(&begin), 0);
    }
    for (int i = 0; i < STARTERS; i++) {
        EQ(pthread_join(pthreads[i], NULL), 0);
    }
}

static void check_whole_burst_on_clean(long processes)
{
    check_whole_burst(processes, PYTHREAD_REUSE_CLEAN);
}

static void check_whole_burst_on_fresh(long processes)
{
    check_whole_burst(processes, PYTHREAD_REUSE_NEVER);
}

static void check_whole_burst_on_used(long processes)
{
    check_whole_burst(processes, PYTHREAD_REUSE_ALWAYS);
}

TEST(all_threads_of_a_burst_at_the_limit_of_processes_run_at_once_or_fail_to_start)
{
    const long limits[] = {50, 60, 100, 300};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        run_in_process(check_whole_burst_on_clean, limits[i]);
    }
}

TEST(all_threads_of_a_burst_run_at_once_or_fail_to_start_on_fresh_os_threads)
{
    const long limits[] = {50, 300};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        run_in_process(check_whole_burst_on_fresh, limits[i]);
    }
}

TEST(all_threads_of_a_burst_run_at_once_or_fail_to_start_on_used_os_threads)
{
    const long limits[] = {50, 300};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        run_in_process(check_whole_burst_on_used, limits[i]);
    }
}

/* ------------------------------------------------------------------------ memory */

/* Takes all the address space that the process may have. */
static void take_address_space(void)
{
    for (size_t size = (size_t)1 << 34; size >= (size_t)sysconf(_SC_PAGESIZE);) {
        if (mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) ==
            MAP_FAILED) {
            size /= 2;
        }
    }
}

static void check_address_space(long mib)
{
    set_soft_limit(RLIMIT_AS, (rlim_t)mib << 20);
    check_limit(MOST);
}

TEST(starts_fail_without_address_space_and_work_again)
{
    /* In MiB. From about 1,700 on there is room for the Go runtime. */
    const long sizes[] = {50,   100,  200,  280,  300,  400,  800,  1200, 1500, 1520, 1540,
                          1560, 1600, 1700, 1750, 1780, 1800, 1820, 1850, 1900, 2000, 2200,
                          2500, 3000, 3100, 3150, 3200, 3300, 3500, 4000, 6000};
    test_skip_under_asan("it takes more address space");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        run_in_process(check_address_space, sizes[i]);
    }
}

static void live_without_address_space(long mib)
{
    set_soft_limit(RLIMIT_AS, (rlim_t)mib << 20);
    int count = start_all(0, MOST);
    GE(count, 1);
    wait_until_inside(count);
    take_address_space();
    for (int round = 0; round < 50; round++) {
        join_range(0, count);
        start_again_at(0);
        count = start_all(1, count);
    }
    join_range(0, count);
    check_nothing_is_left();
}

TEST(threads_live_on_when_the_program_takes_all_address_space)
{
    const long sizes[] = {1000, 1900, 2500, 5000};
    test_skip_under_asan("it takes more address space");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        run_in_process(live_without_address_space, sizes[i]);
    }
}

/* Makes mappings until the process may have no more, and returns how many. Neighbours differ in
   their protection, so that the kernel does not merge them. */
static long take_mappings(char **pages)
{
    long count = 0, page = sysconf(_SC_PAGESIZE);
    const long most = 1000000;
    *pages = mmap(NULL, (size_t)(most * page), PROT_NONE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    NE((intptr_t)*pages, (intptr_t)MAP_FAILED);
    while (count < most / 2 && mprotect(*pages + 2 * count * page, (size_t)page, PROT_READ) == 0) {
        count++;
    }
    if (count == most / 2) {
        test_skip("the system has a million mappings for a process");
    }
    return count;
}

static void give_mappings(char *pages, long from, long to)
{
    long page = sysconf(_SC_PAGESIZE);
    EQ(mprotect(pages + 2 * from * page, (size_t)(2 * (to - from) * page), PROT_NONE), 0);
}

/* Leaves so many mappings to the library, from the start, or (if negative) after it has run a
   thread. */
static void check_mappings(long left)
{
    char *pages;
    if (left < 0) {
        EQ(start_at(0), 0);
        join_range(0, 1);
        left = -left - 1;
    }
    long count = take_mappings(&pages);
    give_mappings(pages, count - (left + 1) / 2, count);
    int threads = start_all(0, MOST);
    LT(threads, MOST);
    wait_until_inside(threads);
    join_range(0, threads);
    if (threads > 0) {
        start_again_at(0);
        join_range(0, start_all(1, threads));
    }
    check_nothing_is_left();
    give_mappings(pages, 0, count);
    EQ(start_at(0), 0);
    join_range(0, 1);
    check_nothing_is_left();
}

TEST(starts_fail_without_mappings_and_work_again)
{
    const long left[] = {0, 10, 70, 130, 140, 200};
    test_skip_under_asan("it takes mappings too");
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        run_in_process(check_mappings, left[i]);
        run_in_process(check_mappings, -left[i] - 1);
    }
}

/* ------------------------------------------------------------------------ very many */

static void check_many(int count)
{
    pythread_stats stats;
    struct rlimit processes;
    int most = start_all(0, count);
    if (most < count) {
        join_range(0, most);
        check_nothing_is_left();
        EQ(getrlimit(RLIMIT_NPROC, &processes), 0);
        test_skip("the system has no more than %d threads (RLIMIT_NPROC is %ld)", most,
                  (long)processes.rlim_cur);
    }
    wait_until_inside(count);
    pythread_get_stats(&stats);
    EQ(stats.threads, count);
    EQ(stats.handles, count);
    join_range(0, count);
    check_nothing_is_left();
    EQ(atomic_load(&inside), 0);
}

TEST(more_threads_block_at_once_than_the_go_runtime_would_have)
{
    check_many(10500);
}

TEST(twenty_thousand_threads_block_at_once)
{
    test_skip_under_asan("it takes a minute to start so many, and 10,500 show it the same");
    check_many(20000);
}
