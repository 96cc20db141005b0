/*
 * loading_test.c - the library is loaded into a running process, by dlopen, by plugins and by
 * LD_PRELOAD, and changes nothing there. This program is not linked with the library:
 * PYTHREAD_LIBRARY in the environment says where it is.
 */
#define _GNU_SOURCE
#include "process.h"
#include "threads.h"

#include <dlfcn.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;

/* The library's functions, as dlsym finds them. */
struct api {
    void *handle;
    __typeof__(PyThread_start_joinable_thread) *start;
    __typeof__(PyThread_join_thread) *join;
    __typeof__(PyThread_get_thread_ident_ex) *ident;
    __typeof__(PyThread_get_thread_native_id) *native_id;
    __typeof__(PyThread_exit_thread) *exit;
    __typeof__(PyThread_allocate_lock) *allocate_lock;
    __typeof__(PyThread_free_lock) *free_lock;
    __typeof__(PyThread_acquire_lock) *acquire_lock;
    __typeof__(PyThread_release_lock) *release_lock;
    __typeof__(PyThread_tss_create) *tss_create;
    __typeof__(PyThread_tss_set) *tss_set;
    __typeof__(PyThread_tss_get) *tss_get;
    __typeof__(PyThread_tss_delete) *tss_delete;
    __typeof__(pythread_get_stats) *get_stats;
    __typeof__(pythread_set_reuse) *set_reuse;
    __typeof__(pythread_get_reuse) *get_reuse;
};

static const char *path(void)
{
    const char *set = getenv("PYTHREAD_LIBRARY");
    if (set == NULL) {
        test_skip("PYTHREAD_LIBRARY is not set");
    }
    return set;
}

static void find(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    if (found == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        test_fail();
    }
    memcpy(function, &found, sizeof found);
}

static struct api shared;

static struct api load(int flags)
{
    struct api api = {.handle = dlopen(path(), flags)};
    if (api.handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        test_fail();
    }
    find(api.handle, "PyThread_start_joinable_thread", &api.start);
    find(api.handle, "PyThread_join_thread", &api.join);
    find(api.handle, "PyThread_get_thread_ident_ex", &api.ident);
    find(api.handle, "PyThread_get_thread_native_id", &api.native_id);
    find(api.handle, "PyThread_exit_thread", &api.exit);
    find(api.handle, "PyThread_allocate_lock", &api.allocate_lock);
    find(api.handle, "PyThread_free_lock", &api.free_lock);
    find(api.handle, "PyThread_acquire_lock", &api.acquire_lock);
    find(api.handle, "PyThread_release_lock", &api.release_lock);
    find(api.handle, "PyThread_tss_create", &api.tss_create);
    find(api.handle, "PyThread_tss_set", &api.tss_set);
    find(api.handle, "PyThread_tss_get", &api.tss_get);
    find(api.handle, "PyThread_tss_delete", &api.tss_delete);
    find(api.handle, "pythread_get_stats", &api.get_stats);
    find(api.handle, "pythread_set_reuse", &api.set_reuse);
    find(api.handle, "pythread_get_reuse", &api.get_reuse);
    return api;
}

static void check_not_loaded(void)
{
    EQ_PTR(dlopen(path(), RTLD_NOW | RTLD_NOLOAD), NULL);
}

static void reap(pid_t child, int expected)
{
    int status;
    GT(child, 0);
    EQ(waitpid(child, &status, 0), child);
    EQ(status, expected << 8);
}

/* Runs func in a process of its own, into which the library was never loaded. */
static void in_child(void (*func)(int), int arg)
{
    check_not_loaded();
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(30);
        func(arg);
        exit(0);
    }
    reap(child, 0);
}

/* ------------------------------------------------------------------------ use of the library */

struct use {
    const struct api *api;
    PyThread_type_lock lock;
    PyThread_ident_t inside;
    Py_tss_t key;
    int value;
};

static void use_in_thread(void *arg)
{
    struct use *use = arg;
    EQ(use->api->acquire_lock(use->lock, WAIT_LOCK), 1);
    use->inside = use->api->ident();
    EQ_PTR(use->api->tss_get(&use->key), NULL);
    EQ(use->api->tss_set(&use->key, use), 0);
    EQ_PTR(use->api->tss_get(&use->key), use);
    NE(use->api->native_id(), 0);
    use->value++;
    use->api->release_lock(use->lock);
    if (use->value % 2 == 0) {
        use->api->exit();
    }
}

static void use_library(const struct api *api)
{
    struct use use = {.api = api, .lock = api->allocate_lock(), .key = Py_tss_NEEDS_INIT};
    EQ(api->tss_create(&use.key), 0);
    EQ(api->tss_set(&use.key, &use.value), 0);
    for (int i = 1; i <= 20; i++) {
        PyThread_ident_t ident;
        PyThread_handle_t handle;
        api->set_reuse(i % 4 == 0 ? PYTHREAD_REUSE_NEVER : PYTHREAD_REUSE_ALWAYS);
        EQ(api->start(use_in_thread, &use, &ident, &handle), 0);
        EQ(api->join(handle), 0);
        EQ(api->join(handle), EINVAL);
        EQ(use.inside, ident);
        EQ(use.value, i);
    }
    EQ_PTR(api->tss_get(&use.key), &use.value);
    EQ(api->ident(), (PyThread_ident_t)pthread_self());
    api->set_reuse(PYTHREAD_REUSE_ALWAYS);
    api->tss_delete(&use.key);
    api->free_lock(use.lock);
}

/* ------------------------------------------------------------------------ dlopen, dlclose */

static void load_and_use(int flags)
{
    struct api api = load(flags);
    use_library(&api);
    EQ(dlclose(api.handle), 0);
}

TEST(the_library_can_be_loaded_in_every_way)
{
    const int flags[] = {RTLD_NOW | RTLD_LOCAL, RTLD_NOW | RTLD_GLOBAL, RTLD_LAZY | RTLD_LOCAL,
                         RTLD_LAZY | RTLD_GLOBAL, RTLD_NOW | RTLD_NODELETE | RTLD_DEEPBIND};
    test_skip_under_asan("it refuses RTLD_DEEPBIND");
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        in_child(load_and_use, flags[i]);
    }
}

TEST(the_library_makes_no_thread_before_one_is_started)
{
    check_not_loaded();
    struct api api = load(RTLD_NOW);
    EQ(os_threads(), 1);
    use_library(&api);
    GT(os_threads(), 1);
}

static void *load_and_use_in_pthread(void *arg)
{
    *(struct api *)arg = load(RTLD_NOW);
    use_library(arg);
    return arg;
}

TEST(the_library_can_be_loaded_by_a_thread_that_ends)
{
    struct api api;
    pthread_t pthread;
    check_not_loaded();
    EQ(pthread_create(&pthread, NULL, load_and_use_in_pthread, &api), 0);
    EQ(pthread_join(pthread, NULL), 0);
    use_library(&api);
}

static void tell_os_thread(void *os_thread)
{
    *(unsigned long *)os_thread = shared.native_id();
}

TEST(threads_of_a_library_that_came_late_share_os_threads)
{
    unsigned long os_thread = 0, before;
    PyThread_ident_t ident;
    PyThread_handle_t handle;
    int same = 0;
    check_not_loaded();
    shared = load(RTLD_NOW);
    for (int i = 0; i < 1000; i++) {
        before = os_thread;
        EQ(shared.start(tell_os_thread, &os_thread, &ident, &handle), 0);
        EQ(shared.join(handle), 0);
        same += os_thread == before;
    }
    GT(same, 0);
}

/* ------------------------------------------------------------------------ reuse of OS threads */

/* From now on the kernel does not know this system call. */
static void take_system_call(unsigned number)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        test_skip("no seccomp");
    }
}

static __thread int threads_here;

static void count_here(void *unused)
{
    (void)unused;
    threads_here++;
    EQ(threads_here, 1);
}

TEST(without_a_way_to_see_what_a_thread_leaves_each_has_an_os_thread_of_its_own)
{
    PyThread_ident_t ident;
    PyThread_handle_t handle;
    take_system_call(SYS_sched_getattr);
    struct api api = load(RTLD_NOW);
    EQ(api.get_reuse(), PYTHREAD_REUSE_NEVER);
    EQ(api.set_reuse(PYTHREAD_REUSE_CLEAN), -1);
    EQ(api.get_reuse(), PYTHREAD_REUSE_NEVER);
    for (int i = 0; i < 100; i++) {
        EQ(api.start(count_here, NULL, &ident, &handle), 0);
        EQ(api.join(handle), 0);
    }
}

static pthread_key_t older_key;
static sigset_t destructors_mask;

static void note_mask(void *unused)
{
    (void)unused;
    EQ(pthread_sigmask(SIG_BLOCK, NULL, &destructors_mask), 0);
}

static void block_sigusr1(void *unused)
{
    sigset_t mask;
    (void)unused;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    EQ(pthread_sigmask(SIG_SETMASK, &mask, NULL), 0);
    EQ(pthread_setspecific(older_key, &older_key), 0);
}

TEST(destructors_of_keys_from_before_run_with_the_signal_mask_of_their_thread)
{
    PyThread_ident_t ident;
    PyThread_handle_t handle;
    EQ(pthread_key_create(&older_key, note_mask), 0);
    shared = load(RTLD_NOW);
    if (shared.set_reuse(PYTHREAD_REUSE_CLEAN) == -1) {
        test_skip("no mode CLEAN");
    }
    EQ(shared.start(block_sigusr1, NULL, &ident, &handle), 0);
    EQ(shared.join(handle), 0);
    CHECK(sigismember(&destructors_mask, SIGUSR1));
    CHECK(!sigismember(&destructors_mask, SIGUSR2));
}

TEST(the_library_is_loaded_once)
{
    struct api first = load(RTLD_NOW), second = load(RTLD_LAZY | RTLD_GLOBAL);
    CHECK(memcmp(&first, &second, sizeof first) == 0);
    use_library(&first);
    struct api third = load(RTLD_NOW);
    CHECK(memcmp(&first, &third, sizeof first) == 0);
    use_library(&third);
}

static pthread_barrier_t barrier;

static void *load_at_once(void *arg)
{
    pthread_barrier_wait(&barrier);
    return load_and_use_in_pthread(arg);
}

static void load_in_many_threads(int threads)
{
    struct api apis[16];
    pthread_t pthreads[16];
    LE(threads, 16);
    EQ(pthread_barrier_init(&barrier, NULL, (unsigned)threads), 0);
    for (int i = 0; i < threads; i++) {
        EQ(pthread_create(&pthreads[i], NULL, load_at_once, &apis[i]), 0);
    }
    for (int i = 0; i < threads; i++) {
        EQ(pthread_join(pthreads[i], NULL), 0);
        CHECK(memcmp(&apis[0], &apis[i], sizeof apis[0]) == 0);
    }
}

TEST(many_threads_may_load_and_start_at_once)
{
    for (int i = 0; i < 20; i++) {
        in_child(load_in_many_threads, 2 + i % 15);
    }
}

static atomic_int arrived;
static atomic_bool leave;

static void *use_when_loaded(void *arg)
{
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    use_library(&shared);
    return arg;
}

TEST(threads_from_before_the_library_can_use_it)
{
    enum { THREADS = 20 };
    pthread_t pthreads[THREADS];
    check_not_loaded();
    EQ(pthread_barrier_init(&barrier, NULL, THREADS + 1), 0);
    for (int i = 0; i < THREADS; i++) {
        EQ(pthread_create(&pthreads[i], NULL, use_when_loaded, NULL), 0);
    }
    pthread_barrier_wait(&barrier);
    shared = load(RTLD_NOW);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < THREADS; i++) {
        EQ(pthread_join(pthreads[i], NULL), 0);
    }
}

static void stay(void *arg)
{
    (void)arg;
    count(&arrived);
    while (!atomic_load(&leave)) {
        sleep_ms(1);
    }
    NE(shared.ident(), (PyThread_ident_t)pthread_self());
}

TEST(dlclose_is_harmless)
{
    enum { THREADS = 10 };
    PyThread_handle_t handles[THREADS];
    PyThread_ident_t ident;
    check_not_loaded();
    shared = load(RTLD_NOW);
    for (int i = 0; i < THREADS; i++) {
        EQ(shared.start(stay, NULL, &ident, &handles[i]), 0);
    }
    wait_for_count(&arrived, THREADS);
    /* Threads run on, and new ones start, although the program has closed the library. */
    EQ(dlclose(shared.handle), 0);
    use_library(&shared);
    struct api again = load(RTLD_NOW);
    CHECK(memcmp(&shared, &again, sizeof again) == 0);
    use_library(&again);
    EQ(dlclose(again.handle), 0);
    atomic_store(&leave, true);
    for (int i = 0; i < THREADS; i++) {
        EQ(shared.join(handles[i]), 0);
    }
    use_library(&shared);
}

static void load_and_close(int rounds)
{
    for (int i = 0; i < rounds; i++) {
        struct api api = load(i % 2 == 0 ? RTLD_NOW : RTLD_LAZY);
        EQ(dlclose(api.handle), 0);
    }
    load_and_use(RTLD_NOW);
}

TEST(the_library_may_come_and_go)
{
    in_child(load_and_close, 1);
    in_child(load_and_close, 100);
}

/* ------------------------------------------------------------------------ what changed since */

static atomic_bool handler_uses;

static void use_in_handler(void)
{
    if (atomic_load(&handler_uses)) {
        use_library(&shared);
    }
}

/* The program's fork handlers run before those of a library that was loaded later. */
static void fork_with_handlers(int started)
{
    EQ(pthread_atfork(use_in_handler, use_in_handler, use_in_handler), 0);
    shared = load(RTLD_NOW);
    if (started != 0) {
        use_library(&shared);
    }
    atomic_store(&handler_uses, true);
    for (int i = 0; i < 10; i++) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            pythread_stats stats;
            use_library(&shared);
            shared.get_stats(&stats);
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

/* ------------------------------------------------------------------------ plugins */

struct plugin {
    unsigned long long (*run)(void (*func)(void *), void *arg);
    const void *(*address)(void);
    int (*set)(Py_tss_t *key, void *value);
    void *plugin;
};

static struct plugin load_plugin(const char *file)
{
    struct plugin plugin = {.plugin = dlopen(file, RTLD_NOW | RTLD_LOCAL)};
    if (plugin.plugin == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        test_fail();
    }
    find(plugin.plugin, "plugin_run", &plugin.run);
    find(plugin.plugin, "plugin_library", &plugin.address);
    find(plugin.plugin, "plugin_set", &plugin.set);
    return plugin;
}

TEST(plugins_share_one_library)
{
    atomic_int ran = 0;
    Py_tss_t key = Py_tss_NEEDS_INIT;
    check_not_loaded();
    struct plugin a = load_plugin(LOADING_PLUGIN_A), b = load_plugin(LOADING_PLUGIN_B);
    struct api api = load(RTLD_NOW);
    NE((intptr_t)a.run, (intptr_t)b.run);
    EQ_PTR(a.address(), b.address());
    EQ_PTR(a.address(), dlsym(api.handle, "PY_TIMEOUT_MAX"));
    for (unsigned long long i = 1; i < 100; i += 2) {
        EQ(a.run(count, &ran), i);
        EQ(b.run(count, &ran), i + 1);
    }
    EQ(atomic_load(&ran), 100);
    /* A key that one plugin created works in the other. */
    EQ(a.set(&key, &a), 0);
    EQ_PTR(api.tss_get(&key), &a);
    EQ(b.set(&key, &b), 0);
    EQ_PTR(api.tss_get(&key), &b);
    EQ(dlclose(a.plugin), 0);
    EQ(b.run(count, &ran), 101);
    EQ(dlclose(b.plugin), 0);
    EQ_PTR(api.tss_get(&key), &b);
    a = load_plugin(LOADING_PLUGIN_A);
    EQ(a.run(count, &ran), 102);
    use_library(&api);
}

/* ------------------------------------------------------------------------ pthread keys */

static int take_keys(pthread_key_t *keys)
{
    int taken = 0;
    while (taken < PTHREAD_KEYS_MAX && pthread_key_create(&keys[taken], NULL) == 0) {
        taken++;
    }
    return taken;
}

static void end_by_pthread_exit(void *arg)
{
    (void)arg;
    pthread_exit(NULL);
}

/* Loads the library when the process has this many pthread keys left. */
static void load_with_keys(int left)
{
    static pthread_key_t keys[PTHREAD_KEYS_MAX];
    PyThread_ident_t ident;
    PyThread_handle_t handle;
    int taken = take_keys(keys);
    GT(taken, 1000);
    for (int i = 0; i < left; i++) {
        EQ(pthread_key_delete(keys[--taken]), 0);
    }
    struct api api = load(RTLD_NOW);
    use_library(&api);
    for (int i = 0; i < 20; i++) {
        api.set_reuse(i % 2 ? PYTHREAD_REUSE_NEVER : PYTHREAD_REUSE_ALWAYS);
        EQ(api.start(end_by_pthread_exit, NULL, &ident, &handle), 0);
        EQ(api.join(handle), 0);
    }
    shared = api;
}

TEST(the_library_does_without_pthread_keys)
{
    for (int left = 0; left < 5; left++) {
        in_child(load_with_keys, left);
    }
}

static void fork_with_keys(int left)
{
    load_with_keys(left);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(30);
        use_library(&shared);
        exit(0);
    }
    reap(child, 0);
}

TEST(the_child_of_a_fork_does_without_pthread_keys)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    for (int left = 0; left < 5; left++) {
        in_child(fork_with_keys, left);
    }
}

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

/* ------------------------------------------------------------------------ LD_PRELOAD */

enum { OUTPUT = 1 << 20 };

/* Stores what a command writes, with or without the library preloaded. Returns its status. */
static int output_of(const char *command, bool preload, char *output)
{
    size_t length = 0, got;
    if (preload) {
        EQ(setenv("LD_PRELOAD", path(), 1), 0);
    } else {
        EQ(unsetenv("LD_PRELOAD"), 0);
    }
    fflush(NULL);
    FILE *pipe = popen(command, "r");
    CHECK(pipe != NULL);
    while ((got = fread(output + length, 1, OUTPUT - 1 - length, pipe)) > 0) {
        length += got;
    }
    output[length] = '\0';
    int status = pclose(pipe);
    EQ(unsetenv("LD_PRELOAD"), 0);
    return status;
}

static void compare(const char *command, int expected)
{
    static char with[OUTPUT], without[OUTPUT];
    test_skip_under_asan("it has to be loaded first");
    EQ(output_of(command, false, without), expected << 8);
    EQ(output_of(command, true, with), expected << 8);
    EQ_STR(with, without);
}

TEST(ls_is_the_same_with_the_library_preloaded)
{
    compare("exec 2>&1; ls -la /usr/lib /bin/ls /nowhere", 2);
    /* The library really was preloaded. */
    static char output[OUTPUT];
    EQ(output_of("exec cat /proc/self/maps", true, output), 0);
    CHECK(strstr(output, "libpythread.so") != NULL);
}

TEST(pipelines_are_the_same_with_the_library_preloaded)
{
    if (access("/bin/bash", X_OK) != 0) {
        test_skip("no bash");
    }
    compare("exec bash -c 'set -o pipefail; yes | head -1'", 141);
    compare("exec bash -c 'set -o pipefail; seq 100000 | head -3 | cat'", 141);
    compare("exec bash -c 'trap \"\" PIPE; (yes; echo $? >&2) 2>&1 >/dev/full | head -2'", 0);
    compare("exec bash -c 'sleep 10 & kill %1; wait %1; echo $?'", 0);
    compare("exec bash -c 'trap \"echo trapped\" USR1; kill -USR1 $$; echo after'", 0);
    compare("exec bash -c 'ulimit -c 0; sh -c \"kill -SEGV \\$\\$\"; echo $?' 2>/dev/null", 0);
    compare("exec timeout 0.1 sleep 10", 124);
}

TEST(sort_with_threads_is_the_same_with_the_library_preloaded)
{
    compare("export LC_ALL=C; seq 200000 | rev | sort --parallel=4 -S 100K | cksum", 0);
}

TEST(git_is_the_same_with_the_library_preloaded)
{
    if (system("git --version >/dev/null 2>&1") != 0) {
        test_skip("no git");
    }
    compare("exec 2>&1; set -e; d=$(mktemp -d); cd $d; export HOME=$d GIT_CONFIG_NOSYSTEM=1; "
            "git init -q -b main; for i in 1 2 3; do echo $i >$i; done; git add 1 2; "
            "git -c user.name=n -c user.email=e@example.org commit -q -m m "
            "--date=2000-01-01T00:00:00Z; echo 4 >>1; git status; git diff; git log --format=%s; "
            "git gc -q; git fsck --no-progress; cd /; rm -rf $d",
            0);
}
