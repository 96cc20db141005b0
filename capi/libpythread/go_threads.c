//go:build unix

/*
 * go_threads.c - the OS threads of the Go runtime in a C program.
 *
 * The library is linked with --wrap=pthread_create, so that the runtime calls the function below.
 * If the system refused an OS thread to Go, Go would end the process. So Go gets its OS threads
 * from a reserve. Before a thread starts, the start fills the reserve with all that Go can need
 * then. If the system refuses, the start fails. What the first thread needs is made beside the
 * start of Go.
 *
 * Invariant: once Go runs, Go and the reserve together have quota() + capacity OS threads. At most
 * `capacity` threads have a permit, and each takes it before Go knows the thread. So the reserve is
 * not empty when Go asks for an OS thread. Proof: Go asks when none of its OS threads is idle. Then
 * each of them
 *   - belongs to a thread, until its goroutine has left it or it ends with the thread, or to an
 *     idle runner, and together these are at most `capacity` (needs_os_thread);
 *   - or has a Go processor: at most one less than there are, because Go asks on behalf of one;
 *   - or is one of Go's own;
 *   - or has given its Go processor away and is about to be idle, within nanoseconds.
 * Together these are fewer than the quota and the threads. There may be any number of the last
 * kind, if the system stops OS threads at that point. The quota has room for more than were ever
 * seen.
 *
 * Exception: after a change from the mode ALWAYS to CLEAN, the OS thread to which a thread has come
 * may be unfit. It ends, which lowers `capacity`, and the thread keeps its permit. Then Go may find
 * the reserve empty, and waits until the system has an OS thread in place of the one that ended.
 *
 * Callers: main_thread.c, processors_linux.go.
 */
#define _GNU_SOURCE
#include "go_threads.h"

#include "thread/clean.h"
#include "../visit.h"
#include "thread/go.h"
#include "nofile/nofile.h"
#include "thread/own_os_thread.h"
#include "thread/runner.h"
#include "thread/permit.h"
#include "system/tsan.h"
#include "_cgo_export.h"
#include "go_start.h"
#include "loading.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>

atomic_long go_threads_count;

#ifdef __linux__

/* NULL if the library is linked without --wrap, as an archive is. Then Go does not call this. */
__attribute__((weak)) int __real_pthread_create(pthread_t *, const pthread_attr_t *,
                                                void *(*)(void *), void *);
int __wrap_pthread_create(pthread_t *os_thread, const pthread_attr_t *attr, void *(*func)(void *),
                          void *arg);

/* The current GOMAXPROCS, and the maximum. */
static atomic_int processors = GO_FIRST_PROCESSORS;
static int most_processors;

int go_threads_first_processors(int most)
{
    most_processors = most;
    if (__real_pthread_create == NULL) {
        atomic_store_explicit(&processors, most, memory_order_relaxed);
    }
    return atomic_load_explicit(&processors, memory_order_relaxed);
}

/* How many OS threads Go can need beside those of threads. */
static int quota(void)
{
    /* The first, the monitor, the one that makes others, one for timers, one for ends. */
    enum { GOS_OWN = 5, ALMOST_IDLE = 4 };
    /* Relaxed, here and below: counts publish no other memory; the mutex guards the reserve. */
    return atomic_load_explicit(&processors, memory_order_relaxed) + GOS_OWN + ALMOST_IDLE;
}

/* The number of threads for which there are OS threads. */
static atomic_int capacity;

static bool takes_permit(void);
static bool needs_os_thread(int waiting);
static bool create_first(void *(*func)(void *), void *arg);

#endif

/* Go sleeps from the first instruction of the process on. */
atomic_uint go_home;

/* Runs before Go's constructor, which may call pthread_create. */
__attribute__((constructor(101))) static void before_go_starts(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    go_sleeps(NULL);
#ifdef __linux__
    go_start_leaves_signals(argv);
    if (__real_pthread_create != NULL) {
        atomic_store_explicit(&capacity, -quota(), memory_order_relaxed);
        thread_takes_permit = takes_permit;
        runner_goes_back = needs_os_thread;
        go_start_waits(create_first);
    }
#endif
    loading_begins();
}

#ifdef __linux__

/* ------------------------------------------------------------------------ the reserve */

/* An OS thread of Go. A spare waits until Go needs it. */
struct os_thread {
    struct os_thread *next;
    /* 1 after func and arg were set. */
    atomic_uint is_called;
    void *(*func)(void *);
    void *arg;
};

/* Guards the reserve. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct os_thread *spares;

static void add_capacity(int threads)
{
    atomic_fetch_add_explicit(&capacity, threads, memory_order_relaxed);
}

/* Counts the end of an OS thread of Go, and of the thread on it. */
static void count_end(void)
{
    atomic_fetch_sub_explicit(&go_threads_count, 1, memory_order_relaxed);
    add_capacity(-1);
    /* Release: see take_any. */
    atomic_fetch_add_explicit(&thread_counts.left, 1, memory_order_release);
}

static void *run(void *arg)
{
    struct os_thread *self = arg;
    clean_restore_scheduling();
    /* The creator may have had others, and Go may run with its own alone. */
    os_set_float_mode(OS_FIRST_FLOAT_MODE);
    /* Acquire: pairs with the release after func and arg were set. */
    while (atomic_load_explicit(&self->is_called, memory_order_acquire) == 0) {
        os_wait(&self->is_called, 0, OS_NO_DEADLINE);
    }
    tsan_acquire(self);
    void *result = self->func(self->arg);
    own_begin_destructors();
    /* Not earlier: the first free would make a heap for this OS thread before Go runs. */
    free(self);
    count_end();
    return result;
}

static bool create(struct os_thread *os_thread)
{
    pthread_t id;
    if (__real_pthread_create(&id, NULL, run, os_thread) != 0) {
        return false;
    }
    pthread_detach(id);
    atomic_fetch_add_explicit(&go_threads_count, 1, memory_order_relaxed);
    return true;
}

/* Adds an OS thread to the reserve. False if the system refuses. */
static bool add_spare(void)
{
    struct os_thread *spare = calloc(1, sizeof *spare);
    if (spare == NULL) {
        return false;
    }
    /* The OS thread inherits this mask. And no handler may run while this holds the mutex. */
    os_signals mask = os_block_signals();
    bool added = create(spare);
    if (added) {
        pthread_mutex_lock(&mutex);
        spare->next = spares;
        spares = spare;
        pthread_mutex_unlock(&mutex);
    } else {
        free(spare);
    }
    os_set_signal_mask(mask);
    return added;
}

static bool call_spare(void *(*func)(void *), void *arg)
{
    pthread_mutex_lock(&mutex);
    struct os_thread *spare = spares;
    if (spare != NULL) {
        spares = spare->next;
    }
    pthread_mutex_unlock(&mutex);
    if (spare == NULL) {
        return false;
    }
    spare->func = func;
    spare->arg = arg;
    tsan_release(spare);
    atomic_store_explicit(&spare->is_called, 1, memory_order_release);
    os_wake(&spare->is_called, 1);
    return true;
}

/* ------------------------------------------------------------------------ permits */

/*
 * How many permits were taken, and up to which number they may be taken, as far as is known. These
 * have a cache line of their own, so that starts do not wait for the counts of threads that run.
 */
static struct {
    _Alignas(64) atomic_uint taken;
    atomic_uint allowed;
} permits;

static unsigned count_of(atomic_uint *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Takes a permit, up to the known number. */
static bool take(void)
{
    unsigned taken = count_of(&permits.taken);
    while ((int)(count_of(&permits.allowed) - taken) > 0) {
        /* Sequentially consistent, as needs_os_thread needs. */
        if (atomic_compare_exchange_weak_explicit(&permits.taken, &taken, taken + 1,
                                                  memory_order_seq_cst, memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

/* Takes a permit, also one that a thread has left. */
static bool take_any(void)
{
    /* Acquire: a thread that ends with its OS thread lowers `capacity` before it raises `left`. So
       the sum is never too high, and an old sum does no harm. */
    unsigned left = atomic_load_explicit(&thread_counts.left, memory_order_acquire);
    int now = atomic_load_explicit(&capacity, memory_order_relaxed);
    atomic_store_explicit(&permits.allowed, left + (unsigned)now, memory_order_relaxed);
    return take();
}

/* Waits until most of the queued threads have come. */
static void wait_for_queued(int queued)
{
    unsigned came = count_of(&thread_counts.came);
    unsigned awaited = came + (unsigned)(queued - queued / 4);
    atomic_store_explicit(&thread_counts.awaited, awaited, memory_order_relaxed);
    /* Another start may set another number. Then this wake-up is lost, which costs a millisecond.
     */
    int64_t deadline = os_deadline_in(1000000);
    while ((int)(awaited - came) > 0 && os_wait(&thread_counts.came, came, deadline) != ETIMEDOUT) {
        came = count_of(&thread_counts.came);
    }
}

/* Gives Go twice as many processors, if the system has the OS threads that Go can need for them. */
static void add_processors(void)
{
    static atomic_flag others_do = ATOMIC_FLAG_INIT;
    /* The number of OS threads at which another try makes sense. */
    static long worth_a_try;
    /* Acquire here and release below: the flag guards worth_a_try. */
    if (atomic_flag_test_and_set_explicit(&others_do, memory_order_acquire)) {
        return;
    }
    int now = atomic_load_explicit(&processors, memory_order_relaxed);
    int more = now <= most_processors / 2 ? now : most_processors - now;
    long count = atomic_load_explicit(&go_threads_count, memory_order_relaxed);
    if (more > 0 && count >= worth_a_try) {
        int added = 0;
        while (added < more && add_spare()) {
            added++;
        }
        if (added == more) {
            struct visit visit;
            atomic_store_explicit(&processors, now + more, memory_order_relaxed);
            if (enter_go(&visit)) {
                go_use_processors(now + more);
                leave_go(&visit);
            }
        } else {
            add_capacity(added);
            worth_a_try = count + more;
        }
    }
    atomic_flag_clear_explicit(&others_do, memory_order_release);
}

/*
 * Takes a permit for a thread. If none is left, adds an OS thread, and with it a permit. Threads
 * that have a permit and do not run yet may end soon. So a start that is far ahead of them waits
 * for them, instead of making OS threads, and no start fails while threads are queued. The wait
 * ends, because each queued thread gets its OS thread.
 */
static bool takes_permit(void)
{
    enum { AHEAD = 64 };
    if (take()) {
        return true;
    }
    while (!take_any()) {
        if (go_is_lost()) { /* a handler of a signal has forked since */
            return false;
        }
        unsigned came = count_of(&thread_counts.came);
        int running = (int)(came - count_of(&thread_counts.left));
        int queued = (int)(count_of(&permits.taken) - came);
        if (running >= 2 * atomic_load_explicit(&processors, memory_order_relaxed)) {
            add_processors();
        }
        if (queued < AHEAD && add_spare()) {
            add_capacity(1);
        } else if (queued > 0) {
            wait_for_queued(queued);
        } else {
            return take_any();
        }
    }
    return true;
}

/*
 * True if an idle runner must give its OS thread back, of `waiting` runners that are idle: if a
 * thread that has a permit has not come yet, or if there are not OS threads for all threads and
 * idle runners.
 *
 * A start takes a permit and then looks for an idle runner. A runner shows itself and then asks
 * this. All four are sequentially consistent. So either the start takes a runner, or each runner
 * that shows itself later counts the thread here.
 */
static bool needs_os_thread(int waiting)
{
    unsigned taken = atomic_load_explicit(&permits.taken, memory_order_seq_cst);
    /* Acquire: see take_any. */
    unsigned left = atomic_load_explicit(&thread_counts.left, memory_order_acquire);
    int now = atomic_load_explicit(&capacity, memory_order_relaxed);
    return (int)(taken - count_of(&thread_counts.came)) > 0 || (int)(taken - left) + waiting > now;
}

/* ------------------------------------------------------------------------ pthread_create */

static bool create_called(void *(*func)(void *), void *arg)
{
    struct os_thread *os_thread = calloc(1, sizeof *os_thread);
    if (os_thread == NULL) {
        return false;
    }
    os_thread->func = func;
    os_thread->arg = arg;
    /* Relaxed: pthread_create publishes it. */
    atomic_store_explicit(&os_thread->is_called, 1, memory_order_relaxed);
    if (!create(os_thread)) {
        free(os_thread);
        return false;
    }
    add_capacity(1);
    return true;
}

/* Makes Go's first OS thread, and beside the start of Go those that the first thread needs. Where
   the system refuses one of these, the start tries again when it takes a permit. */
static bool create_first(void *(*func)(void *), void *arg)
{
    if (!create_called(func, arg)) {
        return false;
    }
    while (atomic_load_explicit(&capacity, memory_order_relaxed) < 1 && add_spare()) {
        add_capacity(1);
    }
    return true;
}

/* Go does not use the pthread_t that it gets here, and makes all its OS threads detached. */
int __wrap_pthread_create(pthread_t *os_thread, const pthread_attr_t *attr, void *(*func)(void *),
                          void *arg)
{
    (void)os_thread;
    (void)attr;
    if (go_start_takes(func, arg)) {
        return 0;
    }
    if (!go_is_here()) {
        /* The program may have changed its limit since Go began to start. */
        nofile_note();
    }
    /* While Go starts, or if the quota was too small, Go waits until the system has an OS thread.
     */
    while (!call_spare(func, arg) && !create_called(func, arg)) {
        go_was_refused();
        os_sleep(OS_MILLISECOND);
    }
    return 0;
}

#endif
