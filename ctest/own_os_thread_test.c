/*
 * own_os_thread_test.c - threads that have an OS thread of their own (PYTHREAD_REUSE_NEVER): what
 * is different for them, and what is the same.
 */
#define _GNU_SOURCE
#include "counted_object.h"
#include "ends.h"
#include "new_ident.h"
#include "process.h"
#include "threads.h"

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* ------------------------------------------------------------------------ C++ objects */

static void use_object(void *how)
{
    CHECK(!object_was_touched());
    touch_object();
    CHECK(object_was_touched());
    end(*(enum end *)how);
}

TEST(thread_local_objects_live_as_long_as_a_thread_on_its_own_os_thread)
{
    use_own_os_threads(1);
    for (int i = 1; i <= 400; i++) {
        enum end how = i % ENDS;
        join(start(use_object, &how));
        EQ(constructed(), i);
        EQ(destroyed(), i);
    }
}

TEST(thread_local_objects_of_many_threads_on_own_os_threads_at_once)
{
    enum { THREADS = 100 };
    PyThread_handle_t handles[THREADS];
    enum end how[ENDS] = {BY_RETURN, BY_EXIT_THREAD, BY_PTHREAD_EXIT, BY_CANCEL};
    use_own_os_threads(1);
    for (int i = 0; i < THREADS; i++) {
        handles[i] = start(use_object, &how[i % ENDS]);
    }
    for (int i = 0; i < THREADS; i++) {
        join(handles[i]);
    }
    EQ(constructed(), THREADS);
    EQ(destroyed(), THREADS);
}

static void touch_and_tell(void *found)
{
    *(bool *)found = object_was_touched();
    touch_object();
}

TEST(thread_local_objects_outlive_a_thread_that_shares_its_os_thread)
{
    pythread_set_reuse(PYTHREAD_REUSE_ALWAYS);
    bool found = false;
    int threads = 0;
    for (; threads < 5000 && !found; threads++) {
        join(start(touch_and_tell, &found));
    }
    CHECK(found);
    LT(constructed(), threads);
    EQ(destroyed(), 0);
}

/* ------------------------------------------------------------------------ pthread keys */

static pthread_key_t pthread_key;
static Py_tss_t keys[10];
static PyThread_ident_t ident_inside;
static atomic_int destructions, rounds;

/* A destructor may use the library, as its thread did. */
static void use_library(void *arg)
{
    PyThread_type_lock lock = PyThread_allocate_lock();
    EQ_PTR(arg, &pthread_key);
    EQ(PyThread_get_thread_ident_ex(), ident_inside);
    EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
    PyThread_release_lock(lock);
    PyThread_free_lock(lock);
    EQ_PTR(PyThread_tss_get(&keys[0]), &keys[0]);
    EQ(PyThread_tss_set(&keys[1], &lock), 0);
    EQ_PTR(PyThread_tss_get(&keys[1]), &lock);
    join(start(count, &destructions));
    EQ(PyThread_get_thread_ident_ex(), ident_inside);
}

static void set_values(void *how)
{
    ident_inside = PyThread_get_thread_ident_ex();
    EQ_PTR(pthread_getspecific(pthread_key), NULL);
    EQ(pthread_setspecific(pthread_key, &pthread_key), 0);
    EQ_PTR(PyThread_tss_get(&keys[0]), NULL);
    EQ(PyThread_tss_set(&keys[0], &keys[0]), 0);
    end(*(enum end *)how);
}

TEST(destructors_of_pthread_keys_run_before_the_join_returns)
{
    EQ(pthread_key_create(&pthread_key, use_library), 0);
    EQ(PyThread_tss_create(&keys[0]), 0);
    EQ(PyThread_tss_create(&keys[1]), 0);
    use_own_os_threads(1);
    for (int i = 1; i <= 200; i++) {
        enum end how = i % ENDS;
        join(start(set_values, &how));
        EQ(atomic_load(&destructions), i);
    }
}

static void set_again(void *value)
{
    atomic_fetch_add(&rounds, 1);
    /* One round fewer than there are, since a program cannot count on the last one. */
    if ((uintptr_t)value < PTHREAD_DESTRUCTOR_ITERATIONS - 1) {
        EQ(pthread_setspecific(pthread_key, (void *)((uintptr_t)value + 1)), 0);
    }
}

static void set_first(void *how)
{
    EQ(pthread_setspecific(pthread_key, (void *)1), 0);
    end(*(enum end *)how);
}

TEST(destructors_run_in_rounds)
{
    EQ(pthread_key_create(&pthread_key, set_again), 0);
    use_own_os_threads(1);
    for (int i = 1; i <= 100; i++) {
        enum end how = i % ENDS;
        join(start(set_first, &how));
        EQ(atomic_load(&rounds), i * (PTHREAD_DESTRUCTOR_ITERATIONS - 1));
    }
}

static void exit_in_destructor(void *arg)
{
    EQ_PTR(arg, &pthread_key);
    count(&destructions);
    PyThread_exit_thread();
}

static void set_value(void *how)
{
    EQ(pthread_setspecific(pthread_key, &pthread_key), 0);
    end(*(enum end *)how);
}

TEST(a_destructor_may_exit)
{
    EQ(pthread_key_create(&pthread_key, exit_in_destructor), 0);
    use_own_os_threads(1);
    for (int i = 1; i <= 100; i++) {
        enum end how = i % 2 == 0 ? BY_RETURN : BY_EXIT_THREAD;
        join(start(set_value, &how));
        EQ(atomic_load(&destructions), i);
    }
}

static void fill_keys(void *how)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        EQ_PTR(PyThread_tss_get(&keys[i]), NULL);
        EQ(PyThread_tss_set(&keys[i], &keys[i]), 0);
    }
    end(*(enum end *)how);
}

TEST(storage_on_own_os_threads_is_the_threads)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        EQ(PyThread_tss_create(&keys[i]), 0);
    }
    for (int i = 0; i < 200; i++) {
        enum end how = i % ENDS;
        use_own_os_threads(i % 3 != 0);
        join(start(fill_keys, &how));
    }
}

static void leave_key_value(void *arg)
{
    *(void **)arg = pthread_getspecific(pthread_key);
    EQ(pthread_setspecific(pthread_key, arg), 0);
}

TEST(pthread_keys_outlive_a_thread_that_shares_its_os_thread)
{
    pythread_set_reuse(PYTHREAD_REUSE_ALWAYS);
    void *found = NULL;
    EQ(pthread_key_create(&pthread_key, NULL), 0);
    for (int i = 0; i < 5000 && found == NULL; i++) {
        join(start(leave_key_value, &found));
    }
    EQ_PTR(found, &found);
}

/* ------------------------------------------------------------------------ what prctl sets */

enum { SLACK = 123456 };

static void find_restrictions(void *unused)
{
    (void)unused;
    EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
    EQ(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), SLACK);
}

TEST(a_thread_on_its_own_os_thread_inherits_what_prctl_has_set_for_its_creator)
{
    let_go_start(); /* so that Go's OS threads do not inherit this */
    use_own_os_threads(1);
    EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    EQ(prctl(PR_SET_TIMERSLACK, SLACK, 0, 0, 0), 0);
    for (int i = 0; i < 100; i++) {
        join(start(find_restrictions, NULL));
    }
}

/* ------------------------------------------------------------------------ identity, OS threads */

struct identity {
    PyThread_ident_t inside;
    unsigned long native, pthread;
};

static void see_identity(void *arg)
{
    struct identity *identity = arg;
    identity->inside = PyThread_get_thread_ident_ex();
    identity->native = PyThread_get_thread_native_id();
    identity->pthread = (unsigned long)pthread_self();
}

TEST(idents_of_threads_on_own_os_threads_follow_the_same_rules)
{
    bool used[MOST_IDENTS] = {true};
    PyThread_ident_t ident;
    PyThread_handle_t handle;
    for (int i = 0; i < 200; i++) {
        struct identity identity;
        use_own_os_threads(i % 2);
        EQ(PyThread_start_joinable_thread(see_identity, &identity, &ident, &handle), 0);
        join(handle);
        EQ(identity.inside, ident);
        check_new_ident(used, ident);
        NE(identity.inside, identity.pthread);
        NE(identity.native, PyThread_get_thread_native_id());
    }
}

TEST(the_mode_of_reuse_returns_what_was_set)
{
    int usual = pythread_set_reuse(PYTHREAD_REUSE_NEVER);
    CHECK(usual == PYTHREAD_REUSE_CLEAN || usual == PYTHREAD_REUSE_ALWAYS);
    EQ(pythread_get_reuse(), PYTHREAD_REUSE_NEVER);
    EQ(pythread_set_reuse(PYTHREAD_REUSE_NEVER), PYTHREAD_REUSE_NEVER);
    EQ(pythread_set_reuse(-1), -1);
    EQ(pythread_get_reuse(), PYTHREAD_REUSE_NEVER);
    EQ(pythread_set_reuse(PYTHREAD_REUSE_ALWAYS), PYTHREAD_REUSE_NEVER);
    EQ(pythread_get_reuse(), PYTHREAD_REUSE_ALWAYS);
    EQ(pythread_set_reuse(usual), PYTHREAD_REUSE_ALWAYS);
    EQ(pythread_set_reuse(usual), usual);
    EQ(pythread_get_reuse(), usual);
}

static void see_mode(void *arg)
{
    *(int *)arg = pythread_set_reuse(PYTHREAD_REUSE_ALWAYS);
}

TEST(the_mode_of_reuse_is_for_all_threads)
{
    int seen = -1;
    pythread_set_reuse(PYTHREAD_REUSE_NEVER);
    join(start(see_mode, &seen));
    EQ(seen, PYTHREAD_REUSE_NEVER);
    EQ(pythread_set_reuse(PYTHREAD_REUSE_NEVER), PYTHREAD_REUSE_ALWAYS);
}

static void tell_native_id_and_stay(void *native_id)
{
    *(unsigned long *)native_id = PyThread_get_thread_native_id();
    stay(NULL);
}

static bool os_thread_exists(unsigned long native_id)
{
    return syscall(SYS_tgkill, getpid(), (pid_t)native_id, 0) == 0;
}

TEST(own_os_threads_end_with_their_threads)
{
    enum { THREADS = 50 };
    PyThread_handle_t handles[THREADS];
    unsigned long native_ids[THREADS];
    pythread_stats stats;
    use_own_os_threads(1);
    for (int round = 0; round < 5; round++) {
        atomic_store(&inside, 0);
        atomic_store(&leave, false);
        for (int i = 0; i < THREADS; i++) {
            handles[i] = start(tell_native_id_and_stay, &native_ids[i]);
        }
        wait_for_count(&inside, THREADS);
        GT(os_threads(), THREADS);
        pythread_get_stats(&stats, sizeof stats);
        EQ(stats.threads, THREADS);
        atomic_store(&leave, true);
        for (int i = 0; i < THREADS; i++) {
            join(handles[i]);
        }
        /* An OS thread ends just after its thread. */
        for (int i = 0; i < THREADS; i++) {
            for (int tries = 0; tries < 10000 && os_thread_exists(native_ids[i]); tries++) {
                sleep_ms(1);
            }
            CHECK(!os_thread_exists(native_ids[i]));
        }
    }
}

static atomic_int counter;

/* No join waits for their ends. */
TEST(detached_threads_on_own_os_threads_leave_nothing)
{
    use_own_os_threads(1);
    for (int i = 1; i <= 100; i++) {
        join(start(nothing, NULL));
        NE(PyThread_start_new_thread(count, &counter), PYTHREAD_INVALID_THREAD_ID);
        wait_for_count(&counter, i);
        check_nothing_is_left();
    }
}

TEST(own_os_threads_leave_no_memory)
{
    enum { THREADS = 2000, LEAK = 16 };
    size_t before = 0;
    use_own_os_threads(1);
    for (int i = 0; i < 2 * THREADS; i++) {
        if (i == THREADS) {
            before = allocated_bytes();
        }
        join(start(nothing, NULL));
    }
    LT(allocated_bytes(), before + THREADS * LEAK);
}

static void leave_key(void *key)
{
    EQ(pthread_setspecific(*(pthread_key_t *)key, key), 0);
}

/* Each thread that leaves something ends an OS thread of Go, since five clean ones come before. */
TEST(os_threads_that_end_with_their_threads_leave_no_memory)
{
    enum { THREADS = 2000, LEAK = 16 };
    size_t before = 0;
    pthread_key_t key;
    EQ(pthread_key_create(&key, NULL), 0);
    for (int i = 0; i < 2 * THREADS; i++) {
        if (i == THREADS) {
            before = allocated_bytes();
        }
        join(start(leave_key, &key));
        for (int clean = 0; clean < 5; clean++) {
            join(start(nothing, NULL));
        }
    }
    LT(allocated_bytes(), before + THREADS * LEAK);
}

TEST(threads_share_os_threads_again_when_it_is_off)
{
    pythread_stats stats;
    use_own_os_threads(1);
    join(start(nothing, NULL));
    use_own_os_threads(0);
    atomic_store(&inside, 0);
    unsigned long native_id;
    PyThread_handle_t handle = start(tell_native_id_and_stay, &native_id);
    wait_for_count(&inside, 1);
    pythread_get_stats(&stats, sizeof stats);
    GE(stats.goroutines, 1);
    atomic_store(&leave, true);
    join(handle);
    for (int i = 0; i < 20000; i++) {
        join(start(nothing, NULL));
    }
    pythread_get_stats(&stats, sizeof stats);
    LE(stats.os_threads, 100);
}

static PyThread_handle_t own;

static void misuse_own_handle(void *arg)
{
    while (!atomic_load((atomic_bool *)arg)) {
        sched_yield();
    }
    EQ(PyThread_join_thread(own), EDEADLK);
    EQ(PyThread_detach_thread(own), 0);
    EQ(PyThread_join_thread(own), EINVAL);
    count(&inside);
}

TEST(handles_of_threads_on_own_os_threads_follow_the_same_rules)
{
    use_own_os_threads(1);
    for (int i = 1; i <= 100; i++) {
        atomic_bool go = false;
        own = start(misuse_own_handle, &go);
        atomic_store(&go, true);
        wait_for_count(&inside, i);
        EQ(PyThread_detach_thread(own), EINVAL);
        PyThread_handle_t handle = start(nothing, NULL);
        join(handle);
        EQ(PyThread_join_thread(handle), EINVAL);
    }
    check_nothing_is_left();
}
