/*
 * system_calls_test.c - the library makes only the system calls of docs/system-calls.md. A filter
 * of seccomp kills the process at any other. The build makes system_calls.h of that page's table.
 */
#define _GNU_SOURCE
#include "loading.h"

#include <gnu/libc-version.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

/* The columns of the table. */
enum moment { LOAD, FIRST_THREAD, CLEAN, NEVER, ALWAYS };

static const struct call {
    long number;
    const char *columns; /* as on the page, from the first | on */
} calls[] = {
#include "system_calls.h"
};

static bool is_allowed(const struct call *call, enum moment moment)
{
    const char *column = call->columns;
    for (int i = 0; i < (int)moment; i++) {
        column = strchr(column + 1, '|');
    }
    return column[1 + strspn(column + 1, " ")] != '|';
}

static void need_listed_system(void)
{
    test_skip_under_asan("it makes system calls of its own");
#ifdef __x86_64__
    if (strcmp(gnu_get_libc_version(), "2.36") == 0) {
        return;
    }
#endif
    test_skip("the list is for glibc 2.36 on amd64");
}

/* From now on another call than those of the column kills the process, whichever thread makes it.
 */
static void allow_only_calls_of(enum moment moment)
{
    enum { CALLS = sizeof calls / sizeof *calls };
    struct sock_filter filter[2 * CALLS + 4];
    unsigned short length = 0;
    filter[length++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i <= CALLS; i++) {
        /* The last one is the test's own. */
        if (i == CALLS || is_allowed(&calls[i], moment)) {
            unsigned number = (unsigned)(i == CALLS ? SYS_exit_group : calls[i].number);
            filter[length++] =
                (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1);
            filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        }
    }
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog program = {length, filter};
    EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0) {
        test_skip("no seccomp");
    }
}

static struct api api;
static PyThread_type_lock lock;

static void load_under_filter(int unused)
{
    Py_tss_t key = Py_tss_NEEDS_INIT;
    (void)unused;
    path();
    allow_only_calls_of(LOAD);
    api = load(RTLD_NOW);
    lock = api.allocate_lock();
    EQ(api.acquire_lock(lock, WAIT_LOCK), 1);
    api.release_lock(lock);
    EQ(api.tss_create(&key), 0);
    EQ(api.tss_set(&key, &key), 0);
    EQ(api.ident(), (PyThread_ident_t)pthread_self());
    NE(api.native_id(), 0);
    _exit(0);
}

TEST(load_locks_storage_and_idents_make_only_the_listed_calls)
{
    need_listed_system();
    in_child(load_under_filter, 0);
}

static PyThread_handle_t start_one(void (*func)(void *), void *arg)
{
    PyThread_ident_t ident;
    PyThread_handle_t handle;
    EQ(api.start(func, arg, &ident, &handle), 0);
    return handle;
}

static void start_first_under_filter(int mode)
{
    api = load(RTLD_NOW);
    api.set_reuse(mode);
    allow_only_calls_of(FIRST_THREAD);
    EQ(api.join(start_one(nothing, NULL)), 0);
    _exit(0);
}

TEST(the_first_thread_makes_only_the_listed_calls)
{
    need_listed_system();
    for (int mode = PYTHREAD_REUSE_CLEAN; mode <= PYTHREAD_REUSE_ALWAYS; mode++) {
        in_child(start_first_under_filter, mode);
    }
}

/* ------------------------------------------------------------------------ later threads */

enum { ALONE = 20000 / SLOWER, BATCH = 200 };

static void exit_thread(void *unused)
{
    (void)unused;
    api.exit();
}

static pthread_key_t key;

/* Its OS thread, which is unfit for another thread, ends with it. */
static void leave_a_value(void *unused)
{
    (void)unused;
    EQ(pthread_setspecific(key, &key), 0);
}

static void wait_for_lock(void *unused)
{
    (void)unused;
    EQ(api.acquire_lock(lock, WAIT_LOCK), 1);
    api.release_lock(lock);
}

static void run_batch(void (*func)(void *), void *arg)
{
    PyThread_handle_t handles[BATCH];
    EQ(api.acquire_lock(lock, WAIT_LOCK), 1);
    for (int i = 0; i < BATCH; i++) {
        handles[i] = start_one(func, arg);
    }
    api.release_lock(lock);
    for (int i = 0; i < BATCH; i++) {
        EQ(api.join(handles[i]), 0);
    }
}

static void start_more_under_filter(int mode)
{
    static const enum moment moments[] = {[PYTHREAD_REUSE_CLEAN] = CLEAN,
                                          [PYTHREAD_REUSE_NEVER] = NEVER,
                                          [PYTHREAD_REUSE_ALWAYS] = ALWAYS};
    api = load(RTLD_NOW);
    api.set_reuse(mode);
    lock = api.allocate_lock();
    EQ(pthread_key_create(&key, NULL), 0);
    EQ(api.join(start_one(nothing, NULL)), 0);
    sleep_ms(100); /* Go starts its OS threads until then */
    allow_only_calls_of(moments[mode]);
    for (int i = 0; i < ALONE; i++) {
        EQ(api.join(start_one(nothing, NULL)), 0);
    }
    for (int i = 0; i < 3; i++) {
        run_batch(nothing, NULL);
        run_batch(wait_for_lock, NULL);
        run_batch(exit_thread, NULL);
        run_batch(leave_a_value, NULL);
    }
    _exit(0);
}

TEST(later_threads_make_only_the_listed_calls)
{
    need_listed_system();
    for (int mode = PYTHREAD_REUSE_CLEAN; mode <= PYTHREAD_REUSE_ALWAYS; mode++) {
        in_child(start_more_under_filter, mode);
    }
}
