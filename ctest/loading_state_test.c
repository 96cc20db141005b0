/*
 * loading_state_test.c - neither loading the library nor its first start changes what the program
 * has: its handlers, signal mask, signal stack, limits and environment. Neither needs a file.
 */
#define _GNU_SOURCE
#include "loading.h"

#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/auxv.h>

extern char **environ;

static struct api shared;

/* ------------------------------------------------------------------------ signals */

static void handle(int sig)
{
    (void)sig;
}

static const int flags_of[] = {0, SA_RESTART, SA_ONSTACK, SA_NODEFER | SA_RESTART};

static void check_handlers(bool set)
{
    for (int sig = 1; sig < NSIG; sig++) {
        struct sigaction action = {.sa_handler = sig % 5 == 0 ? SIG_IGN : handle,
                                   .sa_flags = flags_of[sig % 4]};
        struct sigaction now;
        sigaddset(&action.sa_mask, SIGUSR1);
        if (sig == SIGKILL || sig == SIGSTOP || sigaction(sig, set ? &action : NULL, &now) != 0 ||
            set) {
            continue;
        }
        EQ_PTR(now.sa_handler, action.sa_handler);
        EQ(now.sa_flags & (SA_RESTART | SA_ONSTACK | SA_NODEFER | SA_SIGINFO), action.sa_flags);
        for (int other = 1; other < NSIG; other++) {
            EQ(sigismember(&now.sa_mask, other), other == SIGUSR1);
        }
    }
}

static pthread_barrier_t barrier;

static atomic_bool loaded;

static void *watch_handlers(void *arg)
{
    pthread_barrier_wait(&barrier);
    while (!atomic_load(&loaded)) {
        check_handlers(false);
    }
    return arg;
}

/* Another thread never sees handlers other than the program's own. */
static void load_under_watch(int arg)
{
    pthread_t pthread;
    (void)arg;
    check_handlers(true);
    EQ(pthread_barrier_init(&barrier, NULL, 2), 0);
    EQ(pthread_create(&pthread, NULL, watch_handlers, NULL), 0);
    pthread_barrier_wait(&barrier);
    struct api api = load(RTLD_NOW);
    use_library(&api);
    atomic_store(&loaded, true);
    EQ(pthread_join(pthread, NULL), 0);
    check_handlers(false);
}

TEST(loading_leaves_handlers)
{
    for (int i = 0; i < 30; i++) {
        in_child(load_under_watch, 0);
    }
}

static void load_with_mask(int blocked)
{
    sigset_t mask, after;
    sigemptyset(&mask);
    sigaddset(&mask, blocked);
    EQ(pthread_sigmask(SIG_SETMASK, &mask, NULL), 0);
    struct api api = load(RTLD_NOW);
    use_library(&api);
    EQ(pthread_sigmask(SIG_BLOCK, NULL, &after), 0);
    for (int sig = 1; sig < NSIG; sig++) {
        EQ(sigismember(&after, sig) == 1, sig == blocked);
    }
}

TEST(loading_leaves_the_mask)
{
    for (int i = 0; i < 10; i++) {
        in_child(load_with_mask, SIGUSR2);
    }
}

static void load_without_signal_stack(int unused)
{
    stack_t stack;
    (void)unused;
    struct api api = load(RTLD_NOW);
    use_library(&api);
    EQ(sigaltstack(NULL, &stack), 0);
    EQ(stack.ss_flags, SS_DISABLE);
}

TEST(loading_leaves_no_signal_stack)
{
    in_child(load_without_signal_stack, 0);
}

/* ------------------------------------------------------------------------ limits, files,
 * environment */

static void load_with_limits(int unused)
{
    struct rlimit before[RLIM_NLIMITS], after[RLIM_NLIMITS];
    (void)unused;
    set_soft_limit(RLIMIT_NOFILE, 100);
    for (int i = 0; i < RLIM_NLIMITS; i++) {
        EQ(getrlimit((__rlimit_resource_t)i, &before[i]), 0);
    }
    struct api api = load(RTLD_NOW);
    use_library(&api);
    for (int i = 0; i < RLIM_NLIMITS; i++) {
        EQ(getrlimit((__rlimit_resource_t)i, &after[i]), 0);
        EQ(after[i].rlim_cur, before[i].rlim_cur);
        EQ(after[i].rlim_max, before[i].rlim_max);
    }
}

TEST(loading_leaves_limits)
{
    in_child(load_with_limits, 0);
}

static void load_and_set_limit(int unused)
{
    struct rlimit after;
    (void)unused;
    struct api api = load(RTLD_NOW);
    set_soft_limit(RLIMIT_NOFILE, 101);
    use_library(&api);
    EQ(getrlimit(RLIMIT_NOFILE, &after), 0);
    EQ(after.rlim_cur, 101);
}

TEST(the_first_start_leaves_the_limit_that_was_set_after_loading)
{
    in_child(load_and_set_limit, 0);
}

static void start_with_nothing(int variables)
{
    struct rlimit no_files = {0, 0};
    shared = load(RTLD_NOW);
    /* The C library loads this file when a thread first exits. */
    CHECK(dlopen("libgcc_s.so.1", RTLD_NOW) != NULL);
    for (char **entry = environ; *entry != NULL; entry++) {
        memset(*entry, 'x', strlen(*entry));
    }
    /* Shortened in place, as programs do. The entries behind the new end stay where they are. */
    environ[variables] = NULL;
    for (int file = 0; file < 1000; file++) {
        close(file);
    }
    EQ(setrlimit(RLIMIT_NOFILE, &no_files), 0);
    char *behind = environ[variables + 1];
    for (int i = 0; i < 50; i++) {
        use_library(&shared);
    }
    EQ_PTR(environ[variables], NULL);
    EQ_PTR(environ[variables + 1], behind);
    _exit(0);
}

TEST(threads_need_no_file_and_no_environment)
{
    test_skip_under_asan("it reads files");
    /* The number of words behind the new end is even in one case and odd in the other. */
    CHECK(environ[0] != NULL && environ[1] != NULL && environ[2] != NULL);
    in_child(start_with_nothing, 0);
    in_child(start_with_nothing, 1);
}

/* Go takes 16 bytes for a seed, and clears them; the program's are where the kernel put them. */
static void start_with_random_bytes(int unused)
{
    char before[16];
    const void *bytes = (const void *)getauxval(AT_RANDOM);
    (void)unused;
    CHECK(bytes != NULL);
    memcpy(before, bytes, sizeof before);
    struct api api = load(RTLD_NOW);
    use_library(&api);
    EQ(memcmp(before, bytes, sizeof before), 0);
}

TEST(the_first_start_leaves_the_random_bytes_of_the_kernel)
{
    in_child(start_with_random_bytes, 0);
}

/* ------------------------------------------------------------------------ fork handlers */

static atomic_bool handler_uses;

static void use_in_handler(void)
{
    if (atomic_load(&handler_uses)) {
        use_library(&shared);
    }
}

static void count_value(void *value)
{
    ++*(int *)value;
}

static int value_of_handler;
static PyThread_handle_t thread_of_handler;

static void use_in_childs_handler(void)
{
    PyThread_ident_t ident;
    use_in_handler();
    value_of_handler = 0;
    EQ(shared.start(count_value, &value_of_handler, &ident, &thread_of_handler), 0);
}

/* The program's fork handlers run before those of a library that was loaded later. */
static void fork_with_handlers(int started)
{
    EQ(pthread_atfork(use_in_handler, use_in_handler, use_in_childs_handler), 0);
    shared = load(RTLD_NOW);
    if (started != 0) {
        use_library(&shared);
    }
    atomic_store(&handler_uses, true);
    for (int i = 0; i < 10; i++) {
        pid_t child = fork_mortal();
        if (child == 0) {
            pythread_stats stats;
            use_library(&shared);
            EQ(shared.join(thread_of_handler), 0);
            EQ(value_of_handler, 1);
            shared.get_stats(&stats, sizeof stats);
            EQ(stats.threads, 0);
            EQ(stats.handles, 0);
            LE(stats.goroutines, 20);
            exit(0);
        }
        reap(child, 0);
    }
}

TEST(fork_handlers_of_before_may_use_the_library)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    in_child(fork_with_handlers, 0);
    in_child(fork_with_handlers, 1);
}
