// The go command, which builds main.go in this directory, must ignore this file.
// clang-format off
//go:build ignore
// clang-format on

/*
 * bench.c - measures a thread layer. `bench LAYER [LIBRARY]` reads lines `WORK N` from stdin, does
 * each work at once, and prints how many nanoseconds, bytes or threads it took. Invariant: only the
 * layer's functions differ between layers.
 */
#define _GNU_SOURCE
#include "layers.h"

#include <float.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ------------------------------------------------------------------------ threads */

static double now_on(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double now_ns(void)
{
    return now_on(CLOCK_MONOTONIC);
}

static void *array(long n, size_t size)
{
    void *elements = calloc((size_t)n, size);
    if (elements == NULL) {
        fail("no memory");
    }
    return elements;
}

static PyThread_handle_t start(const struct layer *layer, void (*func)(void *), void *arg)
{
    PyThread_ident_t ident;
    PyThread_handle_t handle;
    if (layer->start(func, arg, &ident, &handle) != 0) {
        fail("a thread did not start");
    }
    return handle;
}

static void join(const struct layer *layer, PyThread_handle_t handle)
{
    if (layer->join(handle) != 0) {
        fail("a thread was not joined");
    }
}

static void nothing(void *arg)
{
    (void)arg;
}

/* Starts and joins n threads, one after the other. Returns the ns for each by this clock. */
static double one_after_another(const struct layer *layer, void (*func)(void *), long n,
                                clockid_t clock)
{
    double begin = now_on(clock);
    for (long i = 0; i < n; i++) {
        join(layer, start(layer, func, NULL));
    }
    return (now_on(clock) - begin) / (double)n;
}

/* Here and below, a first run is not measured, which warms caches and threads. */
static double one_at_a_time(const struct layer *layer, long n)
{
    one_after_another(layer, nothing, n, CLOCK_MONOTONIC);
    return one_after_another(layer, nothing, n, CLOCK_MONOTONIC);
}

/* The processor time that each takes, of all OS threads. */
static double processor_time(const struct layer *layer, long n)
{
    one_after_another(layer, nothing, n, CLOCK_MONOTONIC);
    return one_after_another(layer, nothing, n, CLOCK_PROCESS_CPUTIME_ID);
}

/* One at a time with pauses of so many microseconds, after which less is warm. */
static double apart(const struct layer *layer, long pause)
{
    double took = 0;
    long n = 2 + 20000 / pause;
    for (long i = 0; i < n; i++) {
        usleep((useconds_t)pause);
        took += one_after_another(layer, nothing, 1, CLOCK_MONOTONIC);
    }
    return took / (double)n;
}

/* Starts n threads and then joins them, until there were enough. Returns the ns for each. */
static double batches(const struct layer *layer, void (*func)(void *), long n, long enough)
{
    PyThread_handle_t *handles = array(n, sizeof *handles);
    double begin = now_ns();
    long done = 0;
    for (; done < enough; done += n) {
        for (long i = 0; i < n; i++) {
            handles[i] = start(layer, func, NULL);
        }
        for (long i = 0; i < n; i++) {
            join(layer, handles[i]);
        }
    }
    double took = now_ns() - begin;
    free(handles);
    return took / (double)done;
}

static double batch(const struct layer *layer, long n)
{
    batches(layer, nothing, n, 1000);
    return batches(layer, nothing, n, 1000);
}

/* A key whose value a thread leaves on its OS thread. */
static pthread_key_t left_key;

static void leave_behind(void *arg)
{
    (void)arg;
    pthread_setspecific(left_key, &left_key);
}

/* One at a time, where each leaves something on its OS thread. At the end come clean threads, so
   that the next work finds the layer as before. */
static double dirty(const struct layer *layer, long n)
{
    pthread_key_create(&left_key, NULL);
    one_after_another(layer, leave_behind, n / 10, CLOCK_MONOTONIC);
    double each = one_after_another(layer, leave_behind, n, CLOCK_MONOTONIC);
    pthread_key_delete(left_key);
    batches(layer, nothing, 100, 100);
    return each;
}

static void wait_at_barrier(void *barrier)
{
    pthread_barrier_wait(barrier);
}

/* Starts n threads that block at a barrier. Returns the ns until all run. */
static double first_barrier(const struct layer *layer, long n)
{
    PyThread_handle_t *handles = array(n, sizeof *handles);
    pthread_barrier_t all;
    pthread_barrier_init(&all, NULL, (unsigned)n + 1);
    double begin = now_ns();
    for (long i = 0; i < n; i++) {
        handles[i] = start(layer, wait_at_barrier, &all);
    }
    pthread_barrier_wait(&all);
    double took = now_ns() - begin;
    for (long i = 0; i < n; i++) {
        join(layer, handles[i]);
    }
    pthread_barrier_destroy(&all);
    free(handles);
    return took;
}

static double barrier(const struct layer *layer, long n)
{
    first_barrier(layer, n);
    return first_barrier(layer, n);
}

/* Many threads wait here. */
struct gate {
    pthread_mutex_t closed;
    atomic_long reached;
};

static void wait_at_gate(void *arg)
{
    struct gate *gate = arg;
    atomic_fetch_add(&gate->reached, 1);
    pthread_mutex_lock(&gate->closed);
    pthread_mutex_unlock(&gate->closed);
}

/* Waits until n threads have arrived and sleep. */
static void await(const atomic_long *reached, long n)
{
    while (atomic_load(reached) < n) {
        usleep(1000);
    }
    usleep(5000);
}

/* ------------------------------------------------------------------------ locks */

/* How often a short call is repeated. */
enum { CALLS = 200000 };

/* The least that any lock must do, without a function call. */
static double two_exchanges(long n)
{
    atomic_uint word = 0;
    double begin = now_ns();
    for (long i = 0; i < n; i++) {
        atomic_exchange_explicit(&word, 1, memory_order_acquire);
        atomic_exchange_explicit(&word, 0, memory_order_release);
    }
    return (now_ns() - begin) / (double)n;
}

static double lock_pair(const struct layer *layer)
{
    int (*acquire)(void *, int) = layer->acquire_lock;
    void (*release)(void *) = layer->release_lock;
    if (acquire == NULL) {
        return two_exchanges(CALLS);
    }
    void *lock = layer->allocate_lock();
    double begin = now_ns();
    for (long i = 0; i < CALLS; i++) {
        acquire(lock, WAIT_LOCK);
        release(lock);
    }
    double took = now_ns() - begin;
    layer->free_lock(lock);
    return took / CALLS;
}

static pthread_t create(void *(*func)(void *), void *arg)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, func, arg);
    if (error != 0) {
        fail(strerror(error));
    }
    return thread;
}

/* The data that the threads of a contest share, with cache lines apart. The threads are pthreads
   for every layer, because only the lock is measured. */
struct contest {
    const struct layer *layer;
    void *lock;
    bool timed;
    double ns;
    pthread_barrier_t all;
    _Alignas(128) atomic_bool stop;
    _Alignas(128) volatile long count;
};

struct contender {
    pthread_t thread;
    struct contest *contest;
    double begin, end, longest;
};

static void *contend(void *arg)
{
    struct contender *self = arg;
    struct contest *contest = self->contest;
    int (*acquire)(void *, int) = contest->layer->acquire_lock;
    void (*release)(void *) = contest->layer->release_lock;
    void *lock = contest->lock;
    bool timed = contest->timed;
    double longest = 0;
    pthread_barrier_wait(&contest->all);
    self->begin = now_ns();
    for (long pairs = 1; !atomic_load_explicit(&contest->stop, memory_order_relaxed); pairs++) {
        double asked = timed ? now_ns() : 0;
        acquire(lock, WAIT_LOCK);
        double waited = timed ? now_ns() - asked : 0;
        contest->count++;
        release(lock);
        longest = waited > longest ? waited : longest;
        /* A contestant checks the time, because main might not get a processor. */
        if (pairs % 64 == 0 && now_ns() - self->begin > contest->ns) {
            atomic_store_explicit(&contest->stop, true, memory_order_relaxed);
        }
    }
    self->end = now_ns();
    self->longest = longest;
    return NULL;
}

/* n threads contend for one lock for `ns` nanoseconds. Returns the ns for each pair or, timed, the
   longest wait of any. */
static double hold_contest(const struct layer *layer, long n, bool timed, double ns)
{
    struct contest contest = {.layer = layer, .timed = timed, .ns = ns};
    struct contender *contenders = array(n, sizeof *contenders);
    contest.lock = layer->allocate_lock();
    pthread_barrier_init(&contest.all, NULL, (unsigned)n);
    for (long i = 0; i < n; i++) {
        contenders[i].contest = &contest;
        contenders[i].thread = create(contend, &contenders[i]);
    }
    double begin = DBL_MAX, end = 0, longest = 0;
    for (long i = 0; i < n; i++) {
        const struct contender *one = &contenders[i];
        pthread_join(one->thread, NULL);
        begin = one->begin < begin ? one->begin : begin;
        end = one->end > end ? one->end : end;
        longest = one->longest > longest ? one->longest : longest;
    }
    layer->free_lock(contest.lock);
    pthread_barrier_destroy(&contest.all);
    free(contenders);
    return timed ? longest : (end - begin) / (double)contest.count;
}

static double contended(const struct layer *layer, long n)
{
    return n == 1 ? lock_pair(layer) : hold_contest(layer, n, false, 25e6);
}

static double longest_wait(const struct layer *layer, long n)
{
    return hold_contest(layer, n, true, 100e6);
}

struct exchange {
    const struct layer *layer;
    void *there, *back;
    long n;
};

static void *hand_back(void *arg)
{
    const struct exchange *exchange = arg;
    for (long i = 0; i < exchange->n; i++) {
        exchange->layer->acquire_lock(exchange->there, WAIT_LOCK);
        exchange->layer->release_lock(exchange->back);
    }
    return NULL;
}

/* Two threads wake each other by locks. Returns the ns for each wake-up. */
static double hand_over(const struct layer *layer, long n)
{
    struct exchange exchange = {layer, layer->allocate_lock(), layer->allocate_lock(), n};
    double begin = 0;
    layer->acquire_lock(exchange.there, WAIT_LOCK);
    layer->acquire_lock(exchange.back, WAIT_LOCK);
    pthread_t thread = create(hand_back, &exchange);
    for (long i = 0; i < n; i++) {
        layer->release_lock(exchange.there);
        layer->acquire_lock(exchange.back, WAIT_LOCK);
        if (i == 0) {
            begin = now_ns(); /* the other thread runs now */
        }
    }
    double took = now_ns() - begin;
    pthread_join(thread, NULL);
    layer->release_lock(exchange.there);
    layer->release_lock(exchange.back);
    layer->free_lock(exchange.there);
    layer->free_lock(exchange.back);
    return took / (double)(2 * (n - 1));
}

/* ------------------------------------------------------------------------ storage and names */

/* Reads the calling thread's values of n keys, one after the other. */
static double tss_get(const struct layer *layer, long n)
{
    void *(*get)(Py_tss_t *) = layer->tss_get;
    Py_tss_t *keys = array(n, sizeof *keys);
    for (long i = 0; i < n; i++) {
        if (layer->tss_create(&keys[i]) != 0 || layer->tss_set(&keys[i], &keys[i]) != 0) {
            fail("no key is left");
        }
    }
    double begin = now_ns();
    for (long i = 0, key = 0; i < CALLS; i++) {
        get(&keys[key]);
        key = key + 1 < n ? key + 1 : 0;
    }
    double took = now_ns() - begin;
    for (long i = 0; i < n; i++) {
        if (get(&keys[i]) != &keys[i]) {
            fail("a value is lost");
        }
        layer->tss_delete(&keys[i]);
    }
    free(keys);
    return took / CALLS;
}

static double tss_set(const struct layer *layer, long n)
{
    int (*set)(Py_tss_t *, void *) = layer->tss_set;
    Py_tss_t key = Py_tss_NEEDS_INIT;
    if (layer->tss_create(&key) != 0) {
        fail("no key is left");
    }
    double begin = now_ns();
    for (long i = 0; i < n; i++) {
        set(&key, &key);
    }
    double took = now_ns() - begin;
    layer->tss_delete(&key);
    return took / (double)n;
}

static double each_call(unsigned long (*func)(void), long n)
{
    double begin = now_ns();
    for (long i = 0; i < n; i++) {
        func();
    }
    return (now_ns() - begin) / (double)n;
}

static double ident(const struct layer *layer, long n)
{
    return each_call(layer->ident, n);
}

static double native_id(const struct layer *layer, long n)
{
    return each_call(layer->native_id, n);
}

/* ------------------------------------------------------------------------ processes */

/* The size of a process: OS threads, and bytes of address space and of memory. */
struct cost {
    double os_threads, address_space, memory;
};

static struct cost cost_now(void)
{
    long space = 0, resident = 0, threads = 0;
    double page = (double)sysconf(_SC_PAGESIZE);
    FILE *statm = fopen("/proc/self/statm", "r");
    FILE *stat = fopen("/proc/self/stat", "r");
    if (statm == NULL || fscanf(statm, "%ld %ld", &space, &resident) != 2 || stat == NULL ||
        fscanf(stat,
               "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
               "%*d %ld",
               &threads) != 1) {
        fail("/proc/self does not say");
    }
    fclose(statm);
    fclose(stat);
    return (struct cost){(double)threads, (double)space * page, (double)resident * page};
}

/* The size of the process, and the time, before the layer was loaded. */
static struct cost bare;
static double began;

/* The growth of the process since then, after n threads. */
static struct cost cost_after(const struct layer *layer, long n)
{
    batches(layer, nothing, n == 0 ? 1 : n, n);
    usleep(20000); /* other threads finish what the starts have begun */
    struct cost now = cost_now();
    return (struct cost){now.os_threads - bare.os_threads, now.address_space - bare.address_space,
                         now.memory - bare.memory};
}

static double os_threads_after(const struct layer *layer, long n)
{
    return cost_after(layer, n).os_threads;
}

static double address_space_after(const struct layer *layer, long n)
{
    return cost_after(layer, n).address_space;
}

static double memory_after(const struct layer *layer, long n)
{
    return cost_after(layer, n).memory;
}

/* The ns from before the load of the library to the end of the first threads. */
static double load_and_first(const struct layer *layer, long n)
{
    one_after_another(layer, nothing, n, CLOCK_MONOTONIC);
    return now_ns() - began;
}

/* The bytes of memory that n blocked threads take. */
static double blocked(const struct layer *layer, long n)
{
    struct gate gate = {.closed = PTHREAD_MUTEX_INITIALIZER};
    PyThread_handle_t *handles = array(n, sizeof *handles);
    memset(handles, 1, (size_t)n * sizeof *handles); /* resident before the measurement */
    pthread_mutex_lock(&gate.closed);
    double before = cost_now().memory;
    for (long i = 0; i < n; i++) {
        handles[i] = start(layer, wait_at_gate, &gate);
    }
    await(&gate.reached, n);
    double grown = cost_now().memory - before;
    pthread_mutex_unlock(&gate.closed);
    for (long i = 0; i < n; i++) {
        join(layer, handles[i]);
    }
    free(handles);
    return grown;
}

/* The bytes of memory that each of n locks takes. */
static double lock_memory(const struct layer *layer, long n)
{
    void **locks = array(n, sizeof *locks);
    memset(locks, 1, (size_t)n * sizeof *locks);
    usleep(20000); /* other threads finish what the load of the library has begun */
    double before = cost_now().memory;
    for (long i = 0; i < n; i++) {
        locks[i] = layer->allocate_lock();
    }
    double grown = cost_now().memory - before;
    for (long i = 0; i < n; i++) {
        layer->free_lock(locks[i]);
    }
    free(locks);
    return grown / (double)n;
}

/* ------------------------------------------------------------------------ all of it */

static const struct {
    const char *name;
    double (*work)(const struct layer *layer, long n);
} works[] = {
    {"one_at_a_time", one_at_a_time},
    {"processor_time", processor_time},
    {"apart", apart},
    {"batch", batch},
    {"dirty", dirty},
    {"first_barrier", first_barrier},
    {"barrier", barrier},
    {"contended", contended},
    {"hand_over", hand_over},
    {"longest_wait", longest_wait},
    {"tss_get", tss_get},
    {"tss_set", tss_set},
    {"ident", ident},
    {"native_id", native_id},
    {"os_threads_after", os_threads_after},
    {"address_space_after", address_space_after},
    {"memory_after", memory_after},
    {"load_and_first", load_and_first},
    {"blocked", blocked},
    {"lock_memory", lock_memory},
};

static double measure(const struct layer *layer, const char *name, long n)
{
    for (size_t w = 0; w < sizeof works / sizeof *works; w++) {
        if (strcmp(name, works[w].name) == 0) {
            return works[w].work(layer, n);
        }
    }
    fail("this work does not exist");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fail("usage: bench LAYER [LIBRARY]");
    }
    bare = cost_now();
    began = now_ns();
    struct layer layer = layer_named(argv[1], argv[2]);
    char name[32];
    long n;
    while (scanf("%31s %ld", name, &n) == 2) {
        printf("%.3f\n", measure(&layer, name, n));
        fflush(stdout);
    }
    return 0;
}
