/*
 * loading_test.c - the library is loaded into a running process, by dlopen and by plugins, in every
 * way and at any time.
 */
#define _GNU_SOURCE
#include "loading.h"
#include "new_ident.h"

#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

static struct api shared;

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

static void stay_and_ask(void *arg)
{
    stay(arg);
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
        EQ(shared.start(stay_and_ask, NULL, &ident, &handles[i]), 0);
    }
    wait_for_count(&inside, THREADS);
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
    bool used[MOST_IDENTS] = {true};
    for (int i = 0; i < 50; i++) {
        check_new_ident(used, a.run(count, &ran));
        check_new_ident(used, b.run(count, &ran));
    }
    EQ(atomic_load(&ran), 100);
    /* A key that one plugin created works in the other. */
    EQ(a.set(&key, &a), 0);
    EQ_PTR(api.tss_get(&key), &a);
    EQ(b.set(&key, &b), 0);
    EQ_PTR(api.tss_get(&key), &b);
    EQ(dlclose(a.plugin), 0);
    check_new_ident(used, b.run(count, &ran));
    EQ(dlclose(b.plugin), 0);
    EQ_PTR(api.tss_get(&key), &b);
    a = load_plugin(LOADING_PLUGIN_A);
    check_new_ident(used, a.run(count, &ran));
    EQ(atomic_load(&ran), 102);
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
    pid_t child = fork_mortal();
    if (child == 0) {
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
