/*
 * first_thread_test.c - before its first thread the process is as it was before the library was
 * loaded. The first thread may be started by many pthreads at once, and settings of other Go
 * programs in the environment change nothing.
 */
#define _GNU_SOURCE
#include "process.h"
#include "pthreads.h"
#include "signals.h"
#include "threads.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

enum { FILES = 256, ONE_MIB_IN_KIB = 1024 };

/* What a process has that the library might change. */
static struct state {
    long address_space_kib;
    bool is_open[FILES];
    struct sigaction actions[NSIG];
    sigset_t mask;
    stack_t signal_stack;
    struct rlimit limits[RLIM_NLIMITS];
} before_loading;

static void look_at_process(struct state *state)
{
    char line[64] = "";
    memset(state, 0, sizeof *state);
    for (int file = 0; file < FILES; file++) {
        state->is_open[file] = fcntl(file, F_GETFD) >= 0;
    }
    for (int sig = 1; sig < NSIG; sig++) {
        sigaction(sig, NULL, &state->actions[sig]);
    }
    sigprocmask(SIG_BLOCK, NULL, &state->mask);
    sigaltstack(NULL, &state->signal_stack);
    for (int i = 0; i < RLIM_NLIMITS; i++) {
        getrlimit((__rlimit_resource_t)i, &state->limits[i]);
    }
    int statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (statm >= 0 && read(statm, line, sizeof line - 1) > 0) {
        state->address_space_kib = atol(line) * (sysconf(_SC_PAGESIZE) / 1024);
    }
    close(statm);
}

/* Before the constructors of all libraries. */
static void before_constructors(void)
{
    look_at_process(&before_loading);
}

__attribute__((section(".preinit_array"),
               used)) static void (*const preinit)(void) = before_constructors;

static void check_actions(void)
{
    struct sigaction now;
    for (int sig = 1; sig < NSIG; sig++) {
        if (sigaction(sig, NULL, &now) == 0) {
            EQ_PTR(now.sa_handler, before_loading.actions[sig].sa_handler);
            EQ(now.sa_flags & ~SA_RESTORER, before_loading.actions[sig].sa_flags & ~SA_RESTORER);
        }
    }
}

/* Calls all functions that need no thread of the library. */
static void use_without_threads(void)
{
    pythread_stats stats;
    PyThread_init_thread();
    use_lock_and_key();
    EQ(PyThread_get_thread_ident_ex(), (PyThread_ident_t)pthread_self());
    EQ(PyThread_get_thread_native_id(), syscall(SYS_gettid));
    EQ(PyThread_get_stacksize(), 0);
    EQ(PyThread_join_thread(1), ESRCH);
    EQ(pythread_set_reuse(pythread_set_reuse(PYTHREAD_REUSE_NEVER)), PYTHREAD_REUSE_NEVER);
    EQ(pythread_set_name("guest"), 0);
    pythread_get_stats(&stats, sizeof stats);
    EQ(stats.threads, 0);
    EQ(stats.os_threads, 0);
    EQ(stats.goroutines, 0);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    EQ(pythread_dump(null), 0);
    close(null);
}

TEST(what_needs_no_thread_takes_nothing_of_the_process)
{
    struct state now;
    test_skip_under_asan("it takes memory itself");
    GT(before_loading.address_space_kib, 0);
    use_without_threads();
    look_at_process(&now);
    EQ(os_threads(), 1);
    LT(labs(now.address_space_kib - before_loading.address_space_kib), ONE_MIB_IN_KIB);
    for (int file = 0; file < FILES; file++) {
        EQ(now.is_open[file], before_loading.is_open[file]);
    }
    check_actions();
    for (int sig = 1; sig < NSIG; sig++) {
        EQ(sigismember(&now.mask, sig), sigismember(&before_loading.mask, sig));
    }
    EQ(now.signal_stack.ss_flags, before_loading.signal_stack.ss_flags);
    CHECK(memcmp(now.limits, before_loading.limits, sizeof now.limits) == 0);
}

/* Runs a program's work in a child that is killed if it hangs, and returns its exit status. */
static int status_in_child(int (*work)(void))
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    GE(child, 0);
    if (child == 0) {
        alarm(30);
        exit(work());
    }
    EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int enter_namespaces(void)
{
    return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 ? 0 : errno;
}

/* The kernel refuses this to a process with more than one OS thread. */
TEST(a_process_may_enter_namespaces_before_its_first_thread)
{
    int error = status_in_child(enter_namespaces);
    if (error != 0) {
        test_skip("unshare: %s", strerror(error));
    }
    use_without_threads();
    EQ(enter_namespaces(), 0);
    int namespace = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    GE(namespace, 0);
    EQ(setns(namespace, CLONE_NEWNS), 0);
    close(namespace);
    join(start(nothing, NULL));
}

static int refuse_getpgid(void)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog filter = {sizeof program / sizeof *program, program};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                   prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0
               ? 0
               : errno;
}

static void ask_for_group(void *refused)
{
    if (syscall(SYS_getpgid, 0) == -1 && errno == EXDEV) {
        count(refused);
    }
}

TEST(a_filter_of_system_calls_set_before_the_first_thread_holds_in_all_threads)
{
    enum { THREADS = 50 };
    PyThread_handle_t handles[THREADS];
    atomic_int refused = 0;
    int error = status_in_child(refuse_getpgid);
    if (error != 0) {
        test_skip("seccomp: %s", strerror(error));
    }
    use_without_threads();
    EQ(refuse_getpgid(), 0);
    for (int i = 0; i < THREADS; i++) {
        use_own_os_threads(i % 2);
        handles[i] = start(ask_for_group, &refused);
    }
    for (int i = 0; i < THREADS; i++) {
        join(handles[i]);
    }
    EQ(atomic_load(&refused), THREADS);
}

static pthread_barrier_t barrier;

static void *start_at_once(void *ran)
{
    pthread_barrier_wait(&barrier);
    join(start(count, ran));
    return ran;
}

static void start_first_at_once(long unused)
{
    enum { STARTERS = 32 };
    pthread_t starters[STARTERS];
    atomic_int ran = 0;
    (void)unused;
    EQ(pthread_barrier_init(&barrier, NULL, STARTERS), 0);
    for (int i = 0; i < STARTERS; i++) {
        EQ(pthread_create(&starters[i], NULL, start_at_once, &ran), 0);
    }
    for (int i = 0; i < STARTERS; i++) {
        EQ(pthread_join(starters[i], NULL), 0);
    }
    EQ(atomic_load(&ran), STARTERS);
    check_nothing_is_left();
}

TEST(many_pthreads_may_start_the_first_thread_at_once)
{
    for (int i = 0; i < 20; i++) {
        run_in_process(start_first_at_once, i);
    }
}

enum { SAID = 1024 };

/* Runs the case anew with a variable in its environment, and stores what it says. */
static void start_with_variable(const char *name, const char *value, char said[SAID])
{
    int ends[2];
    EQ(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    GE(child, 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        setenv(name, value, 1);
        setenv("TEST_VARIABLE", name, 1);
        execute_anew();
    }
    close(ends[1]);
    size_t length = 0;
    for (ssize_t got;
         length < SAID - 1 && (got = read(ends[0], said + length, SAID - 1 - length)) > 0;) {
        length += (size_t)got;
    }
    said[length] = '\0';
    close(ends[0]);
    reap(child, 0);
}

TEST(settings_of_other_go_programs_change_nothing)
{
    static const char *const variables[][2] = {
        {"GODEBUG", "garbage"},
        {"GODEBUG", "inittrace=1"},
        {"GODEBUG", "schedtrace=1"},
        {"GODEBUG", "gctrace=1"},
        {"GOGC", "off"},
        {"GOGC", "garbage"},
        {"GOMEMLIMIT", "1"},
        {"GOMEMLIMIT", "garbage"},
        {"GOTRACEBACK", "crash"},
        {"GOMAXPROCS", "0"},
        {"GOMAXPROCS", "garbage"},
    };
    static char expected[SAID], said[SAID];
    const char *variable = getenv("TEST_VARIABLE");
    if (variable == NULL) {
        start_with_variable("OTHER", "1", expected);
        for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
            start_with_variable(variables[i][0], variables[i][1], said);
            EQ_STR(said, expected);
        }
        return;
    }
    char *before = getenv(variable);
    alarm(50);
    run_all_kinds(2);
    /* The program still has its own environment. */
    EQ_PTR(getenv(variable), before);
}
