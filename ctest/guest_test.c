/*
 * guest_test.c - the library is a good guest: before the first thread the process is as without it,
 * children that were forked by then have all of it, and afterwards the program keeps its signals,
 * its stacks, its environment and its scheduling.
 */
#define _GNU_SOURCE
#include "process.h"
#include "pthreads.h"
#include "threads.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>

/* ------------------------------------------------------------------------ before the first thread
 */

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

/* A flag of the kernel's that the C library lets through. */
#ifndef SA_RESTORER
#define SA_RESTORER 0x04000000
#endif

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
    Py_tss_t key = Py_tss_NEEDS_INIT;
    pythread_stats stats;
    PyThread_init_thread();
    PyThread_type_lock lock = PyThread_allocate_lock();
    EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
    EQ(PyThread_acquire_lock_timed(lock, 1000, 1), PY_LOCK_FAILURE);
    PyThread_release_lock(lock);
    PyThread_free_lock(lock);
    EQ(PyThread_tss_create(&key), 0);
    EQ(PyThread_tss_set(&key, &key), 0);
    EQ_PTR(PyThread_tss_get(&key), &key);
    PyThread_tss_delete(&key);
    EQ(PyThread_get_thread_ident_ex(), (PyThread_ident_t)pthread_self());
    EQ(PyThread_get_thread_native_id(), syscall(SYS_gettid));
    EQ(PyThread_get_stacksize(), 0);
    EQ(PyThread_join_thread(1), ESRCH);
    EQ(pythread_set_reuse(pythread_set_reuse(PYTHREAD_REUSE_NEVER)), PYTHREAD_REUSE_NEVER);
    EQ(pythread_set_name("guest"), 0);
    pythread_get_stats(&stats);
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

/* The kernel wants that the caller is the only thread of its process. */
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
        use_fresh_os_threads(i % 2);
        handles[i] = start(ask_for_group, &refused);
    }
    for (int i = 0; i < THREADS; i++) {
        join(handles[i]);
    }
    EQ(atomic_load(&refused), THREADS);
}

/* ------------------------------------------------------------------------ the first thread */

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

/* ------------------------------------------------------------------------ children */

enum { WORKERS = 8, BATCHES = 20, BATCH = 50 };

static atomic_int arrived;
static sem_t door;

static void arrive_and_wait(void *arg)
{
    (void)arg;
    count(&arrived);
    wait_at_door(&door);
}

/* Has 50 threads at once so many times, each on a goroutine. */
static void serve(int batches)
{
    PyThread_handle_t handles[BATCH];
    pythread_stats stats;
    EQ(sem_init(&door, 0, 0), 0);
    for (int batch = 0; batch < batches; batch++) {
        atomic_store(&arrived, 0);
        for (int i = 0; i < BATCH; i++) {
            handles[i] = start(arrive_and_wait, NULL);
        }
        wait_for_count(&arrived, BATCH);
        pythread_get_stats(&stats);
        EQ(stats.threads, BATCH);
        GE(stats.goroutines, BATCH);
        for (int i = 0; i < BATCH; i++) {
            EQ(sem_post(&door), 0);
        }
        for (int i = 0; i < BATCH; i++) {
            join(handles[i]);
        }
    }
    check_nothing_is_left();
}

static pid_t raw_clone(void)
{
    return (pid_t)syscall(SYS_clone, (long)SIGCHLD, NULL, NULL, NULL, NULL);
}

static void reap(pid_t child)
{
    int status;
    EQ(waitpid(child, &status, 0), child);
    EQ(status, 0);
}

/* Forks workers that serve at once. Each has workers of its own before, for so many generations. */
static void fork_workers(pid_t (*fork_one)(void), int workers, int generations)
{
    pid_t children[WORKERS];
    LE(workers, WORKERS);
    fflush(NULL);
    for (int i = 0; i < workers; i++) {
        children[i] = fork_one();
        GE(children[i], 0);
        if (children[i] == 0) {
            alarm(50);
            if (generations > 1) {
                fork_workers(fork_one, 2, generations - 1);
            }
            serve(BATCHES);
            _exit(0);
        }
    }
    for (int i = 0; i < workers; i++) {
        reap(children[i]);
    }
}

TEST(workers_forked_before_the_first_thread_run_goroutines)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    PyThread_init_thread();
    fork_workers(fork, WORKERS, 1);
    serve(BATCHES);
}

TEST(workers_cloned_before_the_first_thread_run_goroutines)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    PyThread_init_thread();
    fork_workers(raw_clone, WORKERS, 1);
    serve(BATCHES);
}

TEST(grandchildren_forked_before_the_first_thread_run_goroutines)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    fork_workers(fork, 2, 3);
    fork_workers(raw_clone, 2, 3);
    serve(BATCHES);
}

static void *fork_workers_in_pthread(void *arg)
{
    fork_workers(fork, 2, 2);
    fork_workers(raw_clone, 2, 2);
    return arg;
}

TEST(workers_of_a_pthread_forked_before_the_first_thread_run_goroutines)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    run_thread(fork_workers_in_pthread, NULL);
    serve(BATCHES);
}

TEST(a_daemon_made_before_the_first_thread_runs_goroutines)
{
    int ends[2];
    char byte = 0;
    test_skip_under_asan(ASAN_AFTER_FORK);
    PyThread_init_thread();
    EQ(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    GE(child, 0);
    if (child == 0) {
        EQ(daemon(1, 1), 0);
        alarm(50);
        fork_workers(fork, 2, 1);
        serve(BATCHES);
        EQ(write(ends[1], "!", 1), 1);
        _exit(0);
    }
    reap(child);
    close(ends[1]);
    EQ(read(ends[0], &byte, 1), 1);
    EQ(byte, '!');
}

/* ------------------------------------------------------------------------ signals that wait */

enum { STORMERS = 4, WAIT_SECONDS = 20 };

static PyThread_handle_t stormers[STORMERS];
static atomic_bool calm;

/* Starts and joins threads of all kinds until all is calm. */
static void storm(void *arg)
{
    (void)arg;
    atomic_int ran = 0;
    int started = 0;
    count(&arrived);
    while (!atomic_load(&calm)) {
        PyThread_handle_t handles[4];
        for (int i = 0; i < 4; i++, started++) {
            handles[i] = start(count, &ran);
        }
        for (int i = 0; i < 4; i++) {
            join(handles[i]);
        }
    }
    EQ(atomic_load(&ran), started);
}

static void begin_storm(void)
{
    for (int i = 0; i < STORMERS; i++) {
        stormers[i] = start(storm, NULL);
    }
    wait_for_count(&arrived, STORMERS);
}

static void end_storm(void)
{
    atomic_store(&calm, true);
    for (int i = 0; i < STORMERS; i++) {
        join(stormers[i]);
    }
}

static sigset_t block(int sig)
{
    sigset_t set;
    EQ(sigemptyset(&set), 0);
    EQ(sigaddset(&set, sig), 0);
    EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    return set;
}

/* The library's OS threads must not have this mask from the program: it may block signals later. */
static void start_first_with_no_signal_blocked(void)
{
    sigset_t none;
    EQ(sigemptyset(&none), 0);
    EQ(pthread_sigmask(SIG_SETMASK, &none, NULL), 0);
    join(start(nothing, NULL));
    join(start(nothing, NULL));
}

/* What a supervisor does. The next child ends when the end of the last has been reported: pending
   signals of one kind are one. */
static void supervise(void)
{
    enum { CHILDREN = 200 };
    sigset_t set = block(SIGCHLD);
    int file = signalfd(-1, &set, SFD_CLOEXEC);
    GE(file, 0);
    begin_storm();
    for (int i = 0; i < CHILDREN; i++) {
        struct signalfd_siginfo info;
        struct pollfd ready = {.fd = file, .events = POLLIN};
        pid_t child = fork();
        GE(child, 0);
        if (child == 0) {
            _exit(0);
        }
        EQ(poll(&ready, 1, WAIT_SECONDS * 1000), 1);
        EQ(read(file, &info, sizeof info), sizeof info);
        EQ(info.ssi_signo, SIGCHLD);
        EQ(info.ssi_pid, child);
        reap(child);
    }
    end_storm();
    close(file);
}

TEST(a_signalfd_reports_the_end_of_every_child)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    supervise();
}

TEST(a_signalfd_made_after_the_first_thread_reports_the_end_of_every_child)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    start_first_with_no_signal_blocked();
    supervise();
}

/* Sends signals and waits for each, so many on their way at a time. */
static void wait_for_each(int sig, int at_a_time)
{
    enum { SIGNALS = 2000 };
    const struct timespec long_time = {.tv_sec = WAIT_SECONDS};
    start_first_with_no_signal_blocked();
    sigset_t set = block(sig);
    begin_storm();
    for (int i = 0; i < SIGNALS; i += at_a_time) {
        for (int j = 0; j < at_a_time; j++) {
            EQ(sigqueue(getpid(), sig, (union sigval){.sival_int = i + j}), 0);
        }
        for (int j = 0; j < at_a_time; j++) {
            siginfo_t info;
            EQ(sigtimedwait(&set, &info, &long_time), sig);
            EQ(info.si_value.sival_int, i + j);
        }
    }
    end_storm();
}

TEST(sigtimedwait_gets_every_sigurg)
{
    wait_for_each(SIGURG, 1);
}

TEST(sigtimedwait_gets_every_sigalrm)
{
    wait_for_each(SIGALRM, 1);
}

TEST(sigtimedwait_gets_every_signal_34)
{
    wait_for_each(34, 50);
}

/* ------------------------------------------------------------------------ handlers of large frames
 */

enum { FRAME = 48 * 1024, SIGNAL_STACK = 64 * 1024 };

/*
 * Where a handler of the calling thread may have its frame: on its signal stack, or on its own
 * stack. Volatile: the compiler does not know that handlers read these.
 */
static _Thread_local char *volatile signal_stack;
static volatile uintptr_t main_stack_low, main_stack_high;
static volatile size_t stack_size;
static _Thread_local volatile int handled_here;
static atomic_int handled, misplaced;

static bool is_within(const char *from, const char *to, uintptr_t low, uintptr_t high)
{
    return (uintptr_t)from >= low && (uintptr_t)to <= high;
}

/* The descriptor of a pthread is at the upper end of its stack. So a handler may ask before its
   thread's function has begun, too. */
static bool is_placed_well(const char *from, const char *to)
{
    if (signal_stack != NULL) {
        return is_within(from, to, (uintptr_t)signal_stack, (uintptr_t)signal_stack + SIGNAL_STACK);
    }
    uintptr_t high = (uintptr_t)pthread_self();
    return getpid() == (pid_t)syscall(SYS_gettid)
               ? is_within(from, to, main_stack_low, main_stack_high)
               : is_within(from, to, high - stack_size, high);
}

static void touch_large_frame(int sig)
{
    int saved = errno;
    volatile char frame[FRAME];
    for (size_t i = 0; i < FRAME; i++) {
        frame[i] = (char)sig;
    }
    if (!is_placed_well((const char *)frame, (const char *)frame + FRAME)) {
        count(&misplaced);
    }
    count(&handled);
    handled_here++;
    errno = saved;
}

static void find_main_stack(void)
{
    pthread_attr_t attr;
    void *low;
    size_t size;
    EQ(pthread_getattr_np(pthread_self(), &attr), 0);
    EQ(pthread_attr_getstack(&attr, &low, &size), 0);
    EQ(pthread_attr_destroy(&attr), 0);
    main_stack_low = (uintptr_t)low;
    main_stack_high = (uintptr_t)low + size;
    EQ(pthread_getattr_default_np(&attr), 0);
    EQ(pthread_attr_getstacksize(&attr, &size), 0);
    EQ(pthread_attr_destroy(&attr), 0);
    stack_size = size;
}

static void set_alarm_mask(int how)
{
    sigset_t set;
    EQ(sigemptyset(&set), 0);
    EQ(sigaddset(&set, SIGALRM), 0);
    EQ(pthread_sigmask(how, &set, NULL), 0);
}

/* The handler comes before or after, so that it finds the old or the new stack. */
static void change_signal_stack(char *memory)
{
    stack_t stack = {.ss_sp = memory,
                     .ss_size = memory == NULL ? 0 : SIGNAL_STACK,
                     .ss_flags = memory == NULL ? SS_DISABLE : 0};
    set_alarm_mask(SIG_BLOCK);
    EQ(sigaltstack(&stack, NULL), 0);
    signal_stack = memory;
    set_alarm_mask(SIG_UNBLOCK);
}

static atomic_bool main_waits;

/* What a thread does; at times it waits until the handler has run on it. */
static void be_interrupted(void *threads_signal_stack)
{
    handled_here = 0;
    if (threads_signal_stack != NULL) {
        change_signal_stack(threads_signal_stack);
    }
    while (atomic_load(&main_waits) && handled_here == 0) {
        EQ(pthread_kill(pthread_self(), SIGALRM), 0);
    }
    if (threads_signal_stack != NULL) {
        change_signal_stack(NULL);
    }
}

/* A timer interrupts main and its threads, from before the first one on. */
static void start_while_interrupted(int flags, bool use_signal_stacks)
{
    enum { ROUNDS = 3000, PAUSE = 100 };
    static char of_main[SIGNAL_STACK], of_thread[SIGNAL_STACK];
    const struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = touch_large_frame, .sa_flags = flags};
    test_skip_under_asan("its frames are elsewhere");
    find_main_stack();
    if (use_signal_stacks) {
        change_signal_stack(of_main);
    }
    EQ(sigaction(SIGALRM, &action, NULL), 0);
    before_loading.actions[SIGALRM] = action;
    EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
    for (int i = 0; i < ROUNDS; i++) {
        use_fresh_os_threads(i % 10 == 1);
        atomic_store(&main_waits, i % PAUSE == 0);
        join(start(be_interrupted, use_signal_stacks ? of_thread : NULL));
        EQ(atomic_load(&misplaced), 0);
    }
    EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
    GE(atomic_load(&handled), ROUNDS / PAUSE);
    check_actions();
    check_nothing_is_left();
}

TEST(handlers_of_large_frames_run_on_their_threads_own_stacks)
{
    start_while_interrupted(0, false);
}

TEST(handlers_of_large_frames_run_on_their_threads_own_signal_stacks)
{
    start_while_interrupted(SA_ONSTACK, true);
}

TEST(handlers_of_large_frames_that_ask_for_a_signal_stack_do_without)
{
    start_while_interrupted(SA_ONSTACK | SA_RESTART, false);
}

/* ------------------------------------------------------------------------ environment */

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
    reap(child);
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
    serve(2);
    /* The program still has its own. */
    EQ_PTR(getenv(variable), before);
}

/* ------------------------------------------------------------------------ scheduling */

static cpu_set_t mains_processors;
static atomic_int elsewhere, of_other_nice_value;

static int nice_value(void)
{
    return getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
}

static void look_at_scheduling(void *mains_nice_value)
{
    cpu_set_t now;
    EQ(sched_getaffinity(0, sizeof now, &now), 0);
    if (!CPU_EQUAL(&now, &mains_processors)) {
        count(&elsewhere);
    }
    if (nice_value() != *(int *)mains_nice_value) {
        count(&of_other_nice_value);
    }
    arrive_and_wait(NULL);
}

static void check_scheduling_of_threads(void)
{
    int own = nice_value();
    for (int round = 0; round < 3; round++) {
        PyThread_handle_t handles[BATCH];
        atomic_store(&arrived, 0);
        for (int i = 0; i < BATCH; i++) {
            use_fresh_os_threads(i % 4 == 3);
            handles[i] = start(look_at_scheduling, &own);
        }
        wait_for_count(&arrived, BATCH);
        for (int i = 0; i < BATCH; i++) {
            EQ(sem_post(&door), 0);
        }
        for (int i = 0; i < BATCH; i++) {
            join(handles[i]);
        }
    }
    EQ(atomic_load(&elsewhere), 0);
    EQ(atomic_load(&of_other_nice_value), 0);
}

static void *start_first_on_one_processor(void *arg)
{
    cpu_set_t one;
    int processor = 0;
    while (!CPU_ISSET(processor, &mains_processors)) {
        processor++;
    }
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    EQ(sched_setaffinity(0, sizeof one, &one), 0);
    join(start(nothing, NULL));
    join(start(nothing, NULL));
    return arg;
}

static void *start_first_nicely(void *arg)
{
    EQ(setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), nice_value() + 5), 0);
    join(start(nothing, NULL));
    join(start(nothing, NULL));
    return arg;
}

static void check_scheduling_after(void *(*start_first)(void *))
{
    EQ(sem_init(&door, 0, 0), 0);
    EQ(sched_getaffinity(0, sizeof mains_processors, &mains_processors), 0);
    run_thread(start_first, NULL);
    check_scheduling_of_threads();
}

TEST(threads_of_main_have_mains_processors_when_a_pinned_pthread_started_the_first)
{
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
        test_skip("the system has one processor");
    }
    check_scheduling_after(start_first_on_one_processor);
}

TEST(threads_of_main_have_mains_nice_value_when_a_nicer_pthread_started_the_first)
{
    check_scheduling_after(start_first_nicely);
}

TEST(threads_of_main_have_mains_nice_value_also_where_none_may_lower_its_own)
{
    const struct rlimit none = {0, 0};
    if (geteuid() == 0) {
        EQ(setresuid(65534, 65534, 65534), 0);
    }
    EQ(setrlimit(RLIMIT_NICE, &none), 0);
    check_scheduling_after(start_first_nicely);
}

/* ------------------------------------------------------------------------ ids */

static void *change_ids(void *go)
{
    enum { CHANGES = 100 };
    uid_t none = (uid_t)-1;
    pthread_barrier_wait(go);
    for (int i = 0; i < CHANGES; i++) {
        EQ(setresgid(none, none, none), 0);
        EQ(setresuid(none, none, none), 0);
        EQ(setegid(getegid()), 0);
        EQ(seteuid(geteuid()), 0);
    }
    return go;
}

/* The C library asks every OS thread to change its ids, and waits until all have. */
static void change_ids_while_threads_start(long unused)
{
    pthread_t changer;
    (void)unused;
    EQ(pthread_barrier_init(&barrier, NULL, 2), 0);
    EQ(pthread_create(&changer, NULL, change_ids, &barrier), 0);
    pthread_barrier_wait(&barrier);
    begin_storm();
    EQ(pthread_join(changer, NULL), 0);
    end_storm();
}

TEST(ids_change_while_the_first_thread_and_many_more_start)
{
    for (int i = 0; i < 5; i++) {
        run_in_process(change_ids_while_threads_start, i);
    }
}
