/*
 * signal_test.c - signals are the host's: its dispositions, masks and handlers
 * are as without the library, whatever threads start, wait and end meanwhile,
 * and no handler runs where there is no room for it.
 */
#define _GNU_SOURCE
#include "threads.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

/* Waits, for a long time at most, until a counter has come so far. */
static void wait_for(atomic_int *counter, int expected)
{
    for (int i = 0; i < 40000 && atomic_load(counter) < expected; i++) {
        sleep_ms(1);
    }
    GE(atomic_load(counter), expected);
}

/* Threads of all kinds: on an OS thread of the library's, on a fresh one, in a batch. */
static void run_threads(int rounds)
{
    enum { BATCH = 20 };
    PyThread_handle_t handles[BATCH];
    for (int i = 0; i < rounds; i++) {
        atomic_int ran = 0;
        join(start(count, &ran));
        int before = pythread_set_reuse(PYTHREAD_REUSE_NEVER);
        join(start(count, &ran));
        pythread_set_reuse(before);
        for (int j = 0; j < BATCH; j++) {
            handles[j] = start(count, &ran);
        }
        for (int j = 0; j < BATCH; j++) {
            join(handles[j]);
        }
        EQ(atomic_load(&ran), BATCH + 2);
    }
}

static void set_handler(int sig, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    EQ(sigemptyset(&action.sa_mask), 0);
    EQ(sigaction(sig, &action, NULL), 0);
}

static void block_only(int sig)
{
    sigset_t set;
    sigemptyset(&set);
    if (sig != 0) {
        sigaddset(&set, sig);
    }
    EQ(pthread_sigmask(SIG_SETMASK, &set, NULL), 0);
}

/* A field of a status file of /proc that is a set of signals: bit 0 is signal 1. All signals where
   the thread has ended since. */
static unsigned long long status_set(const char *file, const char *field)
{
    char line[256];
    unsigned long long set = ~0ULL;
    FILE *status = fopen(file, "r");
    if (status == NULL) {
        return set;
    }
    while (fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, field, strlen(field)) == 0) {
            set = strtoull(line + strlen(field), NULL, 16);
        }
    }
    fclose(status);
    return set;
}

/* A flag of the kernel's that the C library lets through. */
#ifndef SA_RESTORER
#define SA_RESTORER 0x04000000
#endif

#define SET_OF(sig) (1ULL << ((sig)-1))
/* The two that the C library keeps to itself. */
#define INTERNAL (SET_OF(32) | SET_OF(33))
#define ALL_SIGNALS (~(INTERNAL | SET_OF(SIGKILL) | SET_OF(SIGSTOP)))

/* ------------------------------------------------------------------------ dispositions */

/* After exec, a signal can have its default or be ignored, and no more. */
static void check_no_handlers(void)
{
    struct sigaction action;
    for (int sig = 1; sig < NSIG; sig++) {
        if (sigaction(sig, NULL, &action) == 0) {
            CHECK(action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN);
            EQ(action.sa_flags & SA_ONSTACK, 0);
        }
    }
    EQ(status_set("/proc/self/status", "SigCgt:") & ~INTERNAL, 0);
}

TEST(no_signal_is_handled_by_the_library)
{
    unsigned long long ignored = status_set("/proc/self/status", "SigIgn:");
    check_no_handlers();
    PyThread_init_thread();
    check_no_handlers();
    run_threads(10);
    check_no_handlers();
    EQ(status_set("/proc/self/status", "SigIgn:"), ignored);
}

static void handle_nothing(int sig)
{
    (void)sig;
}

static void expected_action(int sig, struct sigaction *action)
{
    static const int flags[] = {0, SA_RESTART, SA_ONSTACK, SA_NODEFER, SA_RESTART | SA_ONSTACK};
    memset(action, 0, sizeof *action);
    action->sa_handler = sig % 7 == 0 ? SIG_IGN : handle_nothing;
    action->sa_flags = flags[(size_t)sig % (sizeof flags / sizeof *flags)];
    sigaddset(&action->sa_mask, sig % 31 + 1);
    sigdelset(&action->sa_mask, SIGKILL);
    sigdelset(&action->sa_mask, SIGSTOP);
}

static void check_actions(void)
{
    struct sigaction expected, action;
    for (int sig = 1; sig < NSIG; sig++) {
        if (sig == SIGKILL || sig == SIGSTOP || sigaction(sig, NULL, &action) != 0) {
            continue;
        }
        expected_action(sig, &expected);
        EQ_PTR(action.sa_handler, expected.sa_handler);
        EQ(action.sa_flags & ~SA_RESTORER, expected.sa_flags);
        for (int other = 1; other < NSIG; other++) {
            EQ(sigismember(&action.sa_mask, other), sigismember(&expected.sa_mask, other));
        }
    }
}

static void set_actions(void)
{
    struct sigaction action;
    for (int sig = 1; sig < NSIG; sig++) {
        expected_action(sig, &action);
        sigaction(sig, &action, NULL);
    }
}

TEST(handlers_set_before_the_first_thread_stay_as_they_are)
{
    set_actions();
    PyThread_init_thread();
    check_actions();
    run_threads(10);
    check_actions();
}

TEST(handlers_set_after_the_first_thread_stay_as_they_are)
{
    run_threads(10);
    set_actions();
    run_threads(10);
    check_actions();
}

TEST(defaults_set_for_all_signals_do_no_harm)
{
    run_threads(3);
    for (int sig = 1; sig < NSIG; sig++) {
        signal(sig, SIG_DFL);
    }
    run_threads(20);
    check_no_handlers();
}

/* ------------------------------------------------------------------------ where handlers run */

/*
 * What a handler compares its place with: whether the OS thread is the host's, its signal stack,
 * and the stacks of pthreads. Volatile: the compiler knows that the C library's calls for signals
 * change none of these variables, and could move a write past such a call, but the handler that
 * runs when the call returns reads them.
 */
static _Thread_local volatile bool is_hosts;
static _Thread_local char *volatile signal_stack;
static volatile uintptr_t main_stack_end;
static volatile size_t stack_size;

enum { SIGNAL_STACK = 64 * 1024 };

/* What the Go runtime makes of signals will do: any signal stack, also one that the test did not
   set; and its OS threads do not block SIGCHLD and SIGPROF. */
static bool any_signal_stack;

static atomic_int handled[NSIG], strays, misplaced;

/* The descriptor of a pthread is at the upper end of its stack; main's stack is far from it. */
static bool on_own_stack(const char *here)
{
    bool is_main = getpid() == (pid_t)syscall(SYS_gettid);
    uintptr_t end = is_main ? main_stack_end : (uintptr_t)pthread_self();
    return (uintptr_t)here < end && end - (uintptr_t)here < stack_size;
}

static void check_place(int sig)
{
    int saved = errno;
    char here;
    /* On one of the library's OS threads only while it runs a thread. */
    bool is_gos = any_signal_stack && (sig == SIGCHLD || sig == SIGPROF);
    if (!is_gos && !is_hosts && PyThread_get_thread_ident() == (unsigned long)pthread_self()) {
        atomic_fetch_add(&strays, 1);
    }
    bool on_signal_stack =
        signal_stack != NULL && &here > signal_stack && &here < signal_stack + SIGNAL_STACK;
    stack_t now;
    if (any_signal_stack && sigaltstack(NULL, &now) == 0) {
        on_signal_stack = (now.ss_flags & SS_ONSTACK) != 0;
    }
    if (!on_signal_stack && !on_own_stack(&here)) {
        atomic_fetch_add(&misplaced, 1);
    }
    atomic_fetch_add(&handled[sig], 1);
    errno = saved;
}

/* Called by main, before it sets a handler that looks where it runs. */
static void find_stacks(void)
{
    char here;
    size_t size;
    pthread_attr_t attr;
    EQ(pthread_getattr_default_np(&attr), 0);
    EQ(pthread_attr_getstacksize(&attr, &size), 0);
    EQ(pthread_attr_destroy(&attr), 0);
    stack_size = size;
    is_hosts = true;
    /* Frames of main's callers lie above this one. */
    main_stack_end = (uintptr_t)&here + 1024 * 1024;
}

static void set_signal_stack(void)
{
    stack_t stack = {.ss_size = SIGNAL_STACK, .ss_sp = malloc(SIGNAL_STACK)};
    CHECK(stack.ss_sp != NULL);
    /* Before the call: a signal that comes during it is handled on the new stack when it returns.
     */
    signal_stack = stack.ss_sp;
    EQ(sigaltstack(&stack, NULL), 0);
}

static void clear_signal_stack(void)
{
    stack_t none = {.ss_flags = SS_DISABLE};
    EQ(sigaltstack(&none, NULL), 0);
    free(signal_stack);
    signal_stack = NULL;
}

/* ------------------------------------------------------------------------ storms */

enum { WORKERS = 4 };
static atomic_bool calm, over;
static pthread_t targets[WORKERS + 1];
static int storm_directed, storm_undirected;

/* Signals to single threads and to the process, from an OS thread that handles none. */
static void *storm(void *arg)
{
    const struct timespec pause = {0, 100000};
    /* At least once, however late this thread comes to run. */
    do {
        for (int i = 0; i <= WORKERS; i++) {
            EQ(pthread_kill(targets[i], SIGUSR1), 0);
            storm_directed++;
        }
        kill(getpid(), SIGUSR2);
        kill(getpid(), SIGCHLD);
        storm_undirected++;
        nanosleep(&pause, NULL);
    } while (!atomic_load(&calm));
    return arg;
}

static PyThread_type_lock lock;
static long long locked;
static atomic_int in_place, finished;

enum { ROUNDS = 100000 };

/* Counts under a lock, and starts and joins a thread at times. */
static void work(void *target)
{
    atomic_int ran = 0;
    int started = 0;
    *(pthread_t *)target = pthread_self();
    set_signal_stack();
    count(&in_place);
    /* Together: one that comes late would miss the storm. */
    wait_for(&in_place, WORKERS);
    for (int i = 0; i < ROUNDS; i++) {
        int status = i % 3 == 0   ? PyThread_acquire_lock(lock, WAIT_LOCK)
                     : i % 3 == 1 ? (int)PyThread_acquire_lock_timed(lock, -1, 0)
                                  : (int)PyThread_acquire_lock_timed(lock, 60000000, 0);
        EQ(status, PY_LOCK_ACQUIRED);
        locked++;
        PyThread_release_lock(lock);
        if (i % 100 == 0) {
            join(start(count, &ran));
            started++;
        }
    }
    EQ(atomic_load(&ran), started);
    /* A target until the storm is over. */
    count(&finished);
    while (!atomic_load(&over)) {
        sleep_ms(1);
    }
    clear_signal_stack();
}

static void weather_storm(int flags)
{
    const int sigs[] = {SIGUSR1, SIGUSR2, SIGCHLD, SIGALRM, SIGPROF};
    const struct itimerval often = {{0, 100}, {0, 100}}, prof = {{0, 1000}, {0, 1000}},
                           never = {{0, 0}, {0, 0}};
    PyThread_handle_t workers[WORKERS];
    pthread_t pthread;
    sigset_t all, mask;
    find_stacks();
    lock = PyThread_allocate_lock();
    for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++) {
        set_handler(sigs[i], check_place, flags);
    }
    EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
    EQ(setitimer(ITIMER_PROF, &prof, NULL), 0);
    targets[WORKERS] = pthread_self();
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = start(work, &targets[i]);
    }
    wait_for(&in_place, WORKERS);
    sigfillset(&all);
    EQ(pthread_sigmask(SIG_SETMASK, &all, &mask), 0);
    EQ(pthread_create(&pthread, NULL, storm, NULL), 0);
    EQ(pthread_sigmask(SIG_SETMASK, &mask, NULL), 0);
    wait_for(&finished, WORKERS);
    atomic_store(&calm, true);
    EQ(pthread_join(pthread, NULL), 0);
    atomic_store(&over, true);
    EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
    EQ(setitimer(ITIMER_PROF, &never, NULL), 0);
    for (int i = 0; i < WORKERS; i++) {
        join(workers[i]);
    }
    EQ(locked, (long long)WORKERS * ROUNDS);
    EQ(atomic_load(&misplaced), 0);
    EQ(atomic_load(&strays), 0);
    /* One that is pending is not queued again, so there may be fewer than were sent. */
    for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++) {
        GT(atomic_load(&handled[sigs[i]]), 0);
    }
    LE(atomic_load(&handled[SIGUSR1]), storm_directed);
    LE(atomic_load(&handled[SIGUSR2]), storm_undirected);
    run_threads(3);
    PyThread_free_lock(lock);
}

TEST(a_storm_of_signals_loses_nothing)
{
    weather_storm(0);
}

TEST(a_storm_of_signals_with_restart_loses_nothing)
{
    weather_storm(SA_RESTART);
}

TEST(a_storm_of_signals_on_signal_stacks_loses_nothing)
{
    weather_storm(SA_ONSTACK);
}

TEST(a_storm_of_signals_on_signal_stacks_with_restart_loses_nothing)
{
    weather_storm(SA_ONSTACK | SA_RESTART);
}

TEST(a_storm_of_signals_on_any_signal_stack_loses_nothing)
{
    any_signal_stack = true;
    weather_storm(SA_ONSTACK);
}

TEST(a_storm_of_signals_on_any_signal_stack_with_restart_loses_nothing)
{
    any_signal_stack = true;
    weather_storm(SA_ONSTACK | SA_RESTART);
}

/* The OS thread under fire, while it starts threads. */
static pthread_mutex_t starter_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_t starter;
static bool starts;
static atomic_int sent;
enum { FIRE = 5 };
static int fire[FIRE];

/* Realtime signals are queued, and the queue is the user's: a thread that does not come to run
   would fill it for all processes. So few are on their way at a time. */
enum { REALTIME = 100 };
static int realtime_sent;

static void *storm_starter(void *arg)
{
    while (!atomic_load(&calm)) {
        pthread_mutex_lock(&starter_mutex);
        for (int i = 0; starts && i < FIRE; i++) {
            bool is_realtime = fire[i] >= SIGRTMIN;
            if (is_realtime && realtime_sent - atomic_load(&handled[fire[i]]) >= REALTIME) {
                continue;
            }
            int error = pthread_kill(starter, fire[i]);
            if (error != 0) {
                /* Other processes have filled the queue. */
                EQ(error, EAGAIN);
                break;
            }
            realtime_sent += is_realtime;
            count(&sent);
        }
        pthread_mutex_unlock(&starter_mutex);
        sched_yield();
    }
    return arg;
}

static void set_starts(bool now)
{
    pthread_mutex_lock(&starter_mutex);
    starter = pthread_self();
    starts = now;
    /* What was on its way to the thread before may have ended with it. */
    realtime_sent = atomic_load(&handled[SIGRTMIN]);
    pthread_mutex_unlock(&starter_mutex);
}

static void *start_first(void *with_stack)
{
    is_hosts = true;
    if (with_stack != NULL) {
        set_signal_stack();
    }
    int before = atomic_load(&sent);
    set_starts(true);
    while (atomic_load(&sent) == before) {
        sched_yield();
    }
    join(start(nothing, NULL));
    join(start(nothing, NULL));
    set_starts(false);
    if (with_stack != NULL) {
        clear_signal_stack();
    }
    return with_stack;
}

/* Makes a pthread that handles no signal. */
static pthread_t create_deaf(void *(*func)(void *))
{
    pthread_t pthread;
    sigset_t all, mask;
    sigfillset(&all);
    EQ(pthread_sigmask(SIG_SETMASK, &all, &mask), 0);
    EQ(pthread_create(&pthread, NULL, func, NULL), 0);
    EQ(pthread_sigmask(SIG_SETMASK, &mask, NULL), 0);
    return pthread;
}

/* The first start of an OS thread is when the Go runtime comes to know it. */
static void storm_first_starts(int flags, void *with_stack)
{
    pthread_t pthread;
    find_stacks();
    memcpy(fire, (int[]){SIGPROF, SIGCHLD, SIGRTMIN, SIGSEGV, SIGUSR1}, sizeof fire);
    for (int i = 0; i < FIRE; i++) {
        set_handler(fire[i], check_place, flags);
    }
    pthread_t stormer = create_deaf(storm_starter);
    for (int i = 0; i < 150; i++) {
        EQ(pthread_create(&pthread, NULL, start_first, with_stack), 0);
        EQ(pthread_join(pthread, NULL), 0);
    }
    atomic_store(&calm, true);
    EQ(pthread_join(stormer, NULL), 0);
    EQ(atomic_load(&misplaced), 0);
    EQ(atomic_load(&strays), 0);
}

TEST(a_storm_during_an_os_threads_first_start_finds_a_stack)
{
    storm_first_starts(0, NULL);
}

TEST(a_storm_during_an_os_threads_first_start_finds_the_hosts_signal_stack)
{
    storm_first_starts(SA_ONSTACK, &lock);
}

/* ------------------------------------------------------------------------ waiting for signals */

enum { SIGNALS = 20000 };
static int waited_for;
static atomic_int arrived;

static void *wait_for_signals(void *arg)
{
    sigset_t set;
    int sig;
    sigemptyset(&set);
    sigaddset(&set, waited_for);
    while (atomic_load(&arrived) < SIGNALS) {
        EQ(sigwait(&set, &sig), 0);
        EQ(sig, waited_for);
        count(&arrived);
    }
    return arg;
}

static void *send_signals(void *arg)
{
    union sigval value = {0};
    for (int i = 0; i < SIGNALS; i++) {
        if (waited_for < SIGRTMIN) {
            /* Not queued, so one at a time. */
            while (atomic_load(&arrived) < i) {
                sched_yield();
            }
        }
        while (sigqueue(getpid(), waited_for, value) != 0) {
            EQ(errno, EAGAIN);
            sched_yield();
        }
    }
    atomic_store(&calm, true);
    return arg;
}

static void *start_for_a_moment(void *arg)
{
    join(start(nothing, NULL));
    return arg;
}

/* A signal that is blocked everywhere, and would end the process or vanish if it were not. */
static void send_to_waiter(int sig)
{
    pthread_t waiter, sender, pthread;
    block_only(sig);
    waited_for = sig;
    EQ(pthread_create(&waiter, NULL, wait_for_signals, NULL), 0);
    EQ(pthread_create(&sender, NULL, send_signals, NULL), 0);
    do {
        EQ(pthread_create(&pthread, NULL, start_for_a_moment, NULL), 0);
        EQ(pthread_join(pthread, NULL), 0);
        run_threads(1);
    } while (!atomic_load(&calm));
    EQ(pthread_join(sender, NULL), 0);
    EQ(pthread_join(waiter, NULL), 0);
    EQ(atomic_load(&arrived), SIGNALS);
}

TEST(sigwait_gets_every_realtime_signal)
{
    send_to_waiter(SIGRTMIN);
}

TEST(sigwait_gets_every_sigchld)
{
    send_to_waiter(SIGCHLD);
}

TEST(sigwait_gets_every_sigprof)
{
    send_to_waiter(SIGPROF);
}

TEST(sigwait_gets_every_sigsegv_that_is_sent)
{
    send_to_waiter(SIGSEGV);
}

/* ------------------------------------------------------------------------ masks */

static atomic_bool leave;
static atomic_int inside;

static void stay(void *arg)
{
    (void)arg;
    count(&inside);
    while (!atomic_load(&leave)) {
        sleep_ms(1);
    }
}

static sigset_t seen_mask;

static void see_mask(void *arg)
{
    (void)arg;
    EQ(pthread_sigmask(SIG_BLOCK, NULL, &seen_mask), 0);
}

static void see_mask_and_change_it(void *arg)
{
    sigset_t all;
    see_mask(arg);
    sigfillset(&all);
    EQ(pthread_sigmask(arg == NULL ? SIG_SETMASK : SIG_UNBLOCK, &all, NULL), 0);
}

TEST(a_thread_has_its_creators_mask)
{
    for (int round = 0; round < 200; round++) {
        int sig = round % 31 + 1;
        if (sig == SIGKILL || sig == SIGSTOP) {
            continue;
        }
        block_only(sig);
        use_fresh_os_threads(round % 4 == 0);
        join(start(see_mask_and_change_it, round % 2 == 0 ? NULL : &round));
        for (int other = 1; other < NSIG; other++) {
            if ((INTERNAL & SET_OF(other)) == 0) {
                EQ(sigismember(&seen_mask, other), other == sig);
            }
        }
    }
}

static void see_mask_in_thread_of_thread(void *arg)
{
    block_only(SIGUSR2);
    join(start(see_mask, arg));
}

TEST(a_threads_thread_has_that_threads_mask)
{
    block_only(SIGUSR1);
    for (int i = 0; i < 100; i++) {
        join(start(see_mask_in_thread_of_thread, NULL));
        EQ(sigismember(&seen_mask, SIGUSR1), 0);
        EQ(sigismember(&seen_mask, SIGUSR2), 1);
        join(start(see_mask, NULL));
        EQ(sigismember(&seen_mask, SIGUSR1), 1);
        EQ(sigismember(&seen_mask, SIGUSR2), 0);
    }
}

/* Calls that enter Go, the first of an OS thread and others, leave the caller's mask. */
static void *check_own_mask(void *arg)
{
    sigset_t mask;
    block_only(SIGUSR1);
    for (int i = 0; i < 30; i++) {
        run_threads(1);
        EQ(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
        for (int sig = 1; sig < NSIG; sig++) {
            EQ(sigismember(&mask, sig) == 1, sig == SIGUSR1);
        }
    }
    return arg;
}

/* They leave its signal stack, or that it has none. */
static void *check_own_signal_stack(void *arg)
{
    stack_t stack;
    for (int i = 0; i < 30; i++) {
        if (i == 10) {
            set_signal_stack();
        } else if (i == 20) {
            clear_signal_stack();
        }
        EQ(sigaltstack(NULL, &stack), 0);
        EQ((stack.ss_flags & SS_DISABLE) == 0, i >= 10 && i < 20);
        EQ_PTR(stack.ss_flags & SS_DISABLE ? NULL : stack.ss_sp, signal_stack);
        run_threads(1);
    }
    return arg;
}

static void *(*check_own)(void *);

static void check_own_in_thread(void *arg)
{
    check_own(arg);
}

/* On pthreads, in threads and in main. */
static void check_own_everywhere(void *(*check)(void *))
{
    pthread_t pthread;
    check_own = check;
    for (int i = 0; i < 10; i++) {
        EQ(pthread_create(&pthread, NULL, check, NULL), 0);
        EQ(pthread_join(pthread, NULL), 0);
        join(start(check_own_in_thread, NULL));
    }
    check(NULL);
}

TEST(a_start_leaves_the_callers_mask)
{
    check_own_everywhere(check_own_mask);
}

TEST(a_start_leaves_the_callers_signal_stack)
{
    check_own_everywhere(check_own_signal_stack);
}

/* How many OS threads block every signal, and how many do not. */
static void count_masks(int *deaf, int *others)
{
    struct dirent *entry;
    char file[64];
    *deaf = *others = 0;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    while ((entry = readdir(tasks)) != NULL) {
        if (entry->d_name[0] != '.') {
            snprintf(file, sizeof file, "/proc/self/task/%.20s/status", entry->d_name);
            bool all = (status_set(file, "SigBlk:") & ALL_SIGNALS) == ALL_SIGNALS;
            *(all ? deaf : others) += 1;
        }
    }
    closedir(tasks);
}

TEST(os_threads_of_the_library_block_all_signals)
{
    enum { THREADS = 50 };
    PyThread_handle_t handles[THREADS];
    int deaf, others = 0;
    block_only(0);
    for (int round = 0; round < 3; round++) {
        atomic_store(&leave, false);
        atomic_store(&inside, 0);
        for (int i = 0; i < THREADS; i++) {
            handles[i] = start(stay, NULL);
        }
        wait_for(&inside, THREADS);
        /* A thread of Go's that starts just now has its mask from the one that starts it. */
        count_masks(&deaf, &others);
        EQ(others, THREADS + 1);
        GT(deaf, 0);
        atomic_store(&leave, true);
        for (int i = 0; i < THREADS; i++) {
            join(handles[i]);
        }
        count_masks(&deaf, &others);
        EQ(others, 1);
        GE(deaf, THREADS);
    }
}

static atomic_int handled_inside, handled_elsewhere;
/* Volatile, as what a handler compares its place with. */
static _Thread_local volatile bool listens;

static void count_where(int sig)
{
    (void)sig;
    count(listens ? &handled_inside : &handled_elsewhere);
}

static void listen_alone(void *arg)
{
    listens = true;
    block_only(0);
    stay(arg);
    block_only(SIGUSR1);
    listens = false;
}

TEST(a_signal_to_the_process_goes_to_a_thread_that_does_not_block_it)
{
    set_handler(SIGUSR1, count_where, 0);
    block_only(SIGUSR1);
    PyThread_handle_t listener = start(listen_alone, NULL);
    wait_for(&inside, 1);
    for (int i = 1; i <= 1000; i++) {
        EQ(kill(getpid(), SIGUSR1), 0);
        if (i % 10 == 0) {
            run_threads(1);
        }
        wait_for(&handled_inside, i);
    }
    EQ(atomic_load(&handled_elsewhere), 0);
    atomic_store(&leave, true);
    join(listener);
    /* No OS thread takes it now: it waits until main does. */
    EQ(kill(getpid(), SIGUSR1), 0);
    run_threads(10);
    EQ(atomic_load(&handled_elsewhere), 0);
    listens = true;
    block_only(0);
    EQ(atomic_load(&handled_inside), 1001);
}

/* ------------------------------------------------------------------------ handlers and waits */

static pthread_t joiner;
static atomic_int interrupted;

static void interrupt_joiner(void *arg)
{
    for (int i = 1; i <= 20; i++) {
        EQ(pthread_kill(joiner, SIGUSR1), 0);
        /* During the join, which ends after this thread only. */
        wait_for(&interrupted, i);
    }
    *(bool *)arg = true;
}

static void count_interrupt(int sig)
{
    (void)sig;
    count(&interrupted);
}

static void join_interrupted(void *flags)
{
    joiner = pthread_self();
    for (int i = 0; i < 15; i++) {
        bool ended = false;
        atomic_store(&interrupted, 0);
        set_handler(SIGUSR1, count_interrupt, *(int *)flags);
        join(start(interrupt_joiner, &ended));
        CHECK(ended);
        EQ(atomic_load(&interrupted), 20);
    }
}

TEST(handlers_run_during_a_join_and_do_not_end_it)
{
    int flags[] = {0, SA_RESTART, SA_ONSTACK, SA_ONSTACK | SA_RESTART};
    for (int i = 0; i < 4; i++) {
        join_interrupted(&flags[i]);
        join(start(join_interrupted, &flags[i]));
    }
}

struct reader {
    int ends[2];
    pthread_t pthread;
    atomic_int steps;
};

static void read_interrupted(void *arg)
{
    struct reader *reader = arg;
    char byte;
    reader->pthread = pthread_self();
    count(&reader->steps);
    EQ(read(reader->ends[0], &byte, 1), -1);
    EQ(errno, EINTR);
    set_handler(SIGUSR1, count_interrupt, SA_RESTART);
    count(&reader->steps);
    EQ(read(reader->ends[0], &byte, 1), 1);
}

TEST(a_system_call_of_a_thread_is_interrupted_as_its_handler_asks)
{
    for (int i = 0; i < 20; i++) {
        struct reader reader = {.steps = 0};
        EQ(pipe(reader.ends), 0);
        use_fresh_os_threads(i % 2);
        set_handler(SIGUSR1, count_interrupt, 0);
        PyThread_handle_t handle = start(read_interrupted, &reader);
        wait_for(&reader.steps, 1);
        /* Again and again, since it may not be in the call yet. */
        while (atomic_load(&reader.steps) == 1) {
            EQ(pthread_kill(reader.pthread, SIGUSR1), 0);
            sleep_ms(1);
        }
        atomic_store(&interrupted, 0);
        EQ(pthread_kill(reader.pthread, SIGUSR1), 0);
        wait_for(&interrupted, 1);
        EQ(write(reader.ends[1], "", 1), 1);
        join(handle);
        close(reader.ends[0]);
        close(reader.ends[1]);
    }
}

/* ------------------------------------------------------------------------ faults */

static _Thread_local sigjmp_buf after_fault;
static _Thread_local volatile int faults;

static void jump_out(int sig)
{
    check_place(sig);
    faults++;
    siglongjmp(after_fault, sig);
}

static void fault(void)
{
    int *volatile nowhere = (int *)16;
    *nowhere = 0;
}

static void recover_from_faults(void *with_stack)
{
    if (with_stack != NULL) {
        set_signal_stack();
    }
    for (int i = 0; i < 100; i++) {
        faults = 0;
        if (sigsetjmp(after_fault, 1) == 0) {
            fault();
            faults = -1;
        }
        EQ(faults, 1);
        int sig = sigsetjmp(after_fault, 1);
        if (sig == 0) {
            raise(SIGFPE);
            faults = -1;
        }
        EQ(sig, SIGFPE);
        EQ(faults, 2);
        join(start(nothing, NULL));
    }
    if (with_stack != NULL) {
        clear_signal_stack();
    }
}

static void recover_everywhere(int flags, void *with_stack)
{
    enum { THREADS = 5 };
    PyThread_handle_t handles[THREADS];
    find_stacks();
    set_handler(SIGSEGV, jump_out, flags);
    set_handler(SIGFPE, jump_out, flags);
    recover_from_faults(with_stack);
    for (int i = 0; i < THREADS; i++) {
        use_fresh_os_threads(i == 0);
        handles[i] = start(recover_from_faults, with_stack);
    }
    for (int i = 0; i < THREADS; i++) {
        join(handles[i]);
    }
    recover_from_faults(with_stack);
    EQ(atomic_load(&misplaced), 0);
    EQ(atomic_load(&strays), 0);
    EQ(atomic_load(&handled[SIGSEGV]), 100 * (THREADS + 2));
}

TEST(a_handler_gets_faults_and_may_jump_out)
{
    recover_everywhere(0, NULL);
}

TEST(a_handler_gets_faults_on_its_signal_stack_and_may_jump_out)
{
    recover_everywhere(SA_ONSTACK, &lock);
}

/* Runs func in a child, in main before any thread, in main after, in threads; its status. */
static int status_of(void (*func)(void *), int where)
{
    int status, ends[2];
    test_skip_under_asan(ASAN_AFTER_FORK);
    EQ(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    GE(child, 0);
    if (child == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        dup2(ends[1], STDERR_FILENO);
        alarm(30);
        if (where > 0) {
            run_threads(1);
        }
        if (where < 2) {
            func(NULL);
        } else {
            use_fresh_os_threads(where == 3);
            join(start(func, NULL));
        }
        _exit(0);
    }
    EQ(waitpid(child, &status, 0), child);
    /* It said nothing: no traceback of a language that nobody asked for. */
    close(ends[1]);
    char said[1024];
    ssize_t length = read(ends[0], said, sizeof said - 1);
    said[length > 0 ? length : 0] = '\0';
    EQ_STR(said, "");
    close(ends[0]);
    return status;
}

static void fault_in_thread(void *arg)
{
    (void)arg;
    fault();
}

static int raised;

static void raise_it(void *arg)
{
    (void)arg;
    raise(raised);
}

static void write_to_broken_pipe(void *arg)
{
    int ends[2];
    (void)arg;
    if (pipe(ends) != 0) {
        _exit(3);
    }
    close(ends[0]);
    _exit(write(ends[1], "x", 1) < 0 && errno == EPIPE ? 42 : 4);
}

enum { PLACES = 4 };

TEST(a_fault_without_a_handler_ends_the_process_by_its_signal)
{
    const int sigs[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGSTKFLT};
    for (int where = 0; where < PLACES; where++) {
        int status = status_of(fault_in_thread, where);
        CHECK(WIFSIGNALED(status));
        EQ(WTERMSIG(status), SIGSEGV);
        for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++) {
            raised = sigs[i];
            status = status_of(raise_it, where);
            CHECK(WIFSIGNALED(status));
            EQ(WTERMSIG(status), raised);
        }
    }
}

TEST(signals_do_what_they_do_by_default)
{
    const int ending[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGALRM, SIGPROF, SIGIO};
    const int ignored[] = {SIGCHLD, SIGURG, SIGWINCH};
    for (int where = 0; where < PLACES; where++) {
        for (size_t i = 0; i < sizeof ending / sizeof *ending; i++) {
            raised = ending[i];
            int status = status_of(raise_it, where);
            CHECK(WIFSIGNALED(status));
            EQ(WTERMSIG(status), raised);
        }
        for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
            raised = ignored[i];
            EQ(status_of(raise_it, where), 0);
        }
    }
}

TEST(a_broken_pipe_ends_the_process_or_is_an_error)
{
    for (int where = 0; where < PLACES; where++) {
        signal(SIGPIPE, SIG_DFL);
        int status = status_of(write_to_broken_pipe, where);
        CHECK(WIFSIGNALED(status));
        EQ(WTERMSIG(status), SIGPIPE);
        signal(SIGPIPE, SIG_IGN);
        EQ(status_of(write_to_broken_pipe, where), 42 << 8);
    }
}

/* ------------------------------------------------------------------------ setuid, setgid */

static atomic_int wrong_ids;

/* A thread's own ids: the C library has to reach every thread to change them. */
static void watch_ids(void *group)
{
    count(&inside);
    while (!atomic_load(&leave)) {
        if (syscall(SYS_getgid) != *(gid_t *)group) {
            count(&wrong_ids);
        }
        sleep_ms(1);
    }
}

static void *start_until_calm(void *arg)
{
    while (!atomic_load(&calm)) {
        run_threads(1);
        start_for_a_moment(NULL);
    }
    return arg;
}

/* What the kernel takes for a struct sigaction. */
struct kernel_action {
    void (*handler)(int, siginfo_t *, void *);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

static struct kernel_action of_c_library;
static atomic_int asked;

/* In Go code there is room on Go's signal stack only. */
static void check_and_change_ids(int sig, siginfo_t *info, void *context)
{
    char here;
    stack_t stack;
    count(&asked);
    sigaltstack(NULL, &stack);
    if ((stack.ss_flags & SS_ONSTACK) == 0 && !on_own_stack(&here)) {
        count(&misplaced);
    }
    of_c_library.handler(sig, info, context);
}

/* Puts the above before the handler that the C library has for this, and which it hides. */
static void watch_internal_signal(void)
{
    enum { SIGSETXID = 33 };
    join(start(nothing, NULL));
    EQ(setegid(0), 0);
    EQ(syscall(SYS_rt_sigaction, SIGSETXID, NULL, &of_c_library, sizeof(uint64_t)), 0);
    struct kernel_action action = of_c_library;
    action.handler = check_and_change_ids;
    EQ(syscall(SYS_rt_sigaction, SIGSETXID, &action, NULL, sizeof(uint64_t)), 0);
}

static void change_ids(void)
{
    enum { THREADS = 8 };
    static gid_t group = 12345;
    PyThread_handle_t handles[THREADS];
    pthread_t load;
    find_stacks();
    watch_internal_signal();
    EQ(pthread_create(&load, NULL, start_until_calm, NULL), 0);
    for (gid_t other = 1; other < 300; other++) {
        EQ(setegid(other), 0);
        EQ(getegid(), other);
    }
    EQ(setegid(0), 0);
    EQ(setgid(group), 0);
    for (int i = 0; i < THREADS; i++) {
        handles[i] = start(watch_ids, &group);
    }
    wait_for(&inside, THREADS);
    sleep_ms(10);
    EQ(setuid(12345), 0);
    EQ(getuid(), 12345);
    NE(setuid(0), 0);
    atomic_store(&leave, true);
    for (int i = 0; i < THREADS; i++) {
        join(handles[i]);
    }
    EQ(atomic_load(&wrong_ids), 0);
    atomic_store(&calm, true);
    EQ(pthread_join(load, NULL), 0);
    run_threads(5);
    GT(atomic_load(&asked), 300);
    EQ(atomic_load(&misplaced), 0);
}

TEST(ids_change_in_all_threads)
{
    if (getuid() != 0) {
        test_skip("only root may change its ids");
    }
    change_ids();
}

/* ------------------------------------------------------------------------ cancellation */

static pthread_t canceled;
static atomic_int cleaned_up;

static void be_canceled(void *arg)
{
    canceled = pthread_self();
    pthread_cleanup_push(count, &cleaned_up);
    stay(arg);
    pthread_cleanup_pop(0);
}

TEST(a_canceled_thread_has_ended)
{
    test_skip_under_asan("it takes frames that were unwound for live ones");
    for (int i = 1; i <= 100; i++) {
        pythread_stats stats;
        atomic_store(&inside, 0);
        use_fresh_os_threads(i % 4 == 0);
        PyThread_handle_t handle = start(be_canceled, NULL);
        wait_for(&inside, 1);
        EQ(pthread_cancel(canceled), 0);
        join(handle);
        EQ(atomic_load(&cleaned_up), i);
        run_threads(1);
        pythread_get_stats(&stats);
        EQ(stats.threads, 0);
        EQ(stats.handles, 0);
    }
}

static void be_canceled_too_late(void *type)
{
    int before;
    EQ(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before), 0);
    EQ(before, PTHREAD_CANCEL_ENABLE);
    EQ(pthread_setcanceltype(*(int *)type, &before), 0);
    EQ(before, PTHREAD_CANCEL_DEFERRED);
    canceled = pthread_self();
    stay(NULL);
}

static void test_cancel(void *arg)
{
    pthread_testcancel();
    sleep_ms(1);
    count(arg);
}

TEST(a_cancellation_does_not_hit_the_next_thread)
{
    enum { THREADS = 20 };
    PyThread_handle_t handles[THREADS];
    int types[] = {PTHREAD_CANCEL_ASYNCHRONOUS, PTHREAD_CANCEL_DEFERRED};
    for (int i = 0; i < 20; i++) {
        atomic_int ran = 0;
        atomic_store(&inside, 0);
        atomic_store(&leave, false);
        PyThread_handle_t handle = start(be_canceled_too_late, &types[i % 2]);
        wait_for(&inside, 1);
        EQ(pthread_cancel(canceled), 0);
        atomic_store(&leave, true);
        join(handle);
        for (int j = 0; j < THREADS; j++) {
            handles[j] = start(test_cancel, &ran);
        }
        for (int j = 0; j < THREADS; j++) {
            join(handles[j]);
        }
        EQ(atomic_load(&ran), THREADS);
    }
}
