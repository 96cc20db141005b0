// Not for the go command, which builds main.go here.
// clang-format off
//go:build ignore
// clang-format on

/*
 * bench.c - measures thread layers side by side in one process: this library,
 * CPython's (a libpython) and plain pthreads, each bound to itself so that none
 * calls another's functions.
 *
 * `bench LIBPYTHREAD LIBPYTHON|- ROUNDS` prints a line `work<TAB>layer<TAB>ns`
 * for each measurement; within a round every layer does every work once, in an
 * order that changes from round to round. `bench LIBRARY|pthreads WORK N`
 * prints what one work does that tells only in a process of its own. Invariant:
 * what is measured is done by the layer's functions, all else is the same for all.
 */
#define _GNU_SOURCE
#include "pythread.h"

#include <dlfcn.h>
#include <float.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A thread layer. */
struct layer {
    const char *name;
    int (*start)(void (*)(void *), void *, PyThread_ident_t *, PyThread_handle_t *);
    int (*join)(PyThread_handle_t);
    void *(*allocate_lock)(void);
    void (*free_lock)(void *);
    int (*acquire_lock)(void *, int);
    void (*release_lock)(void *);
    int (*tss_create)(Py_tss_t *);
    void (*tss_delete)(Py_tss_t *);
    int (*tss_set)(Py_tss_t *, void *);
    void *(*tss_get)(Py_tss_t *);
    unsigned long (*ident)(void);
    unsigned long (*native_id)(void);
};

__attribute__((noreturn)) static void fail(const char *what)
{
    fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

/* ------------------------------------------------------------------------ the layers */

struct call {
    void (*func)(void *);
    void *arg;
};

static void *call(void *arg)
{
    struct call call = *(struct call *)arg;
    free(arg);
    call.func(call.arg);
    return NULL;
}

static int pthreads_start(void (*func)(void *), void *arg, PyThread_ident_t *ident,
                          PyThread_handle_t *handle)
{
    pthread_t thread;
    struct call *made = malloc(sizeof *made);
    if (made == NULL) {
        return -1;
    }
    *made = (struct call){func, arg};
    if (pthread_create(&thread, NULL, call, made) != 0) {
        free(made);
        return -1;
    }
    *ident = *handle = (uintptr_t)thread;
    return 0;
}

static int pthreads_join(PyThread_handle_t handle)
{
    return pthread_join((pthread_t)handle, NULL);
}

static void *pthreads_allocate_lock(void)
{
    pthread_mutex_t *mutex = malloc(sizeof *mutex);
    if (mutex != NULL) {
        pthread_mutex_init(mutex, NULL);
    }
    return mutex;
}

static int pthreads_acquire_lock(void *lock, int wait)
{
    (void)wait;
    return pthread_mutex_lock(lock) == 0;
}

static void pthreads_release_lock(void *lock)
{
    pthread_mutex_unlock(lock);
}

/* Of pthreads, what has a counterpart with the same promises. */
static const struct layer pthreads = {
    .name = "pthreads",
    .start = pthreads_start,
    .join = pthreads_join,
    .allocate_lock = pthreads_allocate_lock,
    .free_lock = free,
    .acquire_lock = pthreads_acquire_lock,
    .release_lock = pthreads_release_lock,
};

/* Ends the program unless the function is the library's own, and the only one that is at hand. */
static void check_own(void *library, void *function, const char *symbol)
{
    struct link_map *map;
    Dl_info info;
    if (function == NULL || dlinfo(library, RTLD_DI_LINKMAP, &map) != 0 ||
        dladdr(function, &info) == 0 || (uintptr_t)info.dli_fbase != map->l_addr) {
        fprintf(stderr, "bench: no %s of its own: ", symbol);
        fail(dlerror() != NULL ? "not found" : info.dli_fname);
    }
    if (dlsym(RTLD_DEFAULT, symbol) != NULL) {
        fail("the process has a thread layer already: unset LD_PRELOAD");
    }
}

static struct layer load(const char *name, const char *path)
{
    struct layer layer = {.name = name};
    /* Local, and bound to itself first: two libraries here define the same names. */
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (library == NULL) {
        fail(dlerror());
    }
    const struct {
        void *member;
        const char *symbol;
    } symbols[] = {
        {&layer.start, "PyThread_start_joinable_thread"},
        {&layer.join, "PyThread_join_thread"},
        {&layer.allocate_lock, "PyThread_allocate_lock"},
        {&layer.free_lock, "PyThread_free_lock"},
        {&layer.acquire_lock, "PyThread_acquire_lock"},
        {&layer.release_lock, "PyThread_release_lock"},
        {&layer.tss_create, "PyThread_tss_create"},
        {&layer.tss_delete, "PyThread_tss_delete"},
        {&layer.tss_set, "PyThread_tss_set"},
        {&layer.tss_get, "PyThread_tss_get"},
        {&layer.ident, "PyThread_get_thread_ident"},
        {&layer.native_id, "PyThread_get_thread_native_id"},
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *symbol = dlsym(library, symbols[i].symbol);
        check_own(library, symbol, symbols[i].symbol);
        memcpy(symbols[i].member, &symbol, sizeof symbol);
    }
    return layer;
}

/* ------------------------------------------------------------------------ threads */

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
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

/* n threads, one after the other: ns for each. */
static double one_at_a_time(const struct layer *layer, long n)
{
    double begin = now_ns();
    for (long i = 0; i < n; i++) {
        join(layer, start(layer, nothing, NULL));
    }
    return (now_ns() - begin) / (double)n;
}

/* The same where nothing is warm from the thread before: a millisecond lies between. */
static double now_and_then(const struct layer *layer, long n)
{
    double took = 0;
    for (long i = 0; i < n; i++) {
        usleep(1000);
        took += one_at_a_time(layer, 1);
    }
    return took / (double)n;
}

/* n threads started, then joined, until there were a thousand at least: ns for each. */
static double batch(const struct layer *layer, long n)
{
    PyThread_handle_t *handles = array(n, sizeof *handles);
    double begin = now_ns();
    long done = 0;
    for (; done < 1000; done += n) {
        for (long i = 0; i < n; i++) {
            handles[i] = start(layer, nothing, NULL);
        }
        for (long i = 0; i < n; i++) {
            join(layer, handles[i]);
        }
    }
    double took = now_ns() - begin;
    free(handles);
    return took / (double)done;
}

static void wait_at_barrier(void *barrier)
{
    pthread_barrier_wait(barrier);
}

/* n threads that all block: ns until all run. */
static double barrier(const struct layer *layer, long n)
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

/* ------------------------------------------------------------------------ locks */

static double lock_pair(const struct layer *layer, long n)
{
    int (*acquire)(void *, int) = layer->acquire_lock;
    void (*release)(void *) = layer->release_lock;
    void *lock = layer->allocate_lock();
    double begin = now_ns();
    for (long i = 0; i < n; i++) {
        acquire(lock, WAIT_LOCK);
        release(lock);
    }
    double took = now_ns() - begin;
    layer->free_lock(lock);
    return took / (double)n;
}

/* What any lock must do at the least, without a call. */
static double two_exchanges(const struct layer *layer, long n)
{
    atomic_uint word = 0;
    (void)layer;
    double begin = now_ns();
    for (long i = 0; i < n; i++) {
        atomic_exchange_explicit(&word, 1, memory_order_acquire);
        atomic_exchange_explicit(&word, 0, memory_order_release);
    }
    return (now_ns() - begin) / (double)n;
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

/* What the threads of a contest share, each on cache lines of its own. They are pthreads whatever
   the layer: it is its lock that is measured. */
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
        /* The one who finds that it is time must be running: main might not come to it. */
        if (pairs % 64 == 0 && now_ns() - self->begin > contest->ns) {
            atomic_store_explicit(&contest->stop, true, memory_order_relaxed);
        }
    }
    self->end = now_ns();
    self->longest = longest;
    return NULL;
}

/* Has n threads contend for one lock for so long: ns for each pair; or, timed, the longest that any
   had to wait. */
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
    return hold_contest(layer, n, false, 40e6);
}

static double longest_wait(const struct layer *layer, long n)
{
    return hold_contest(layer, n, true, 200e6);
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

/* ns for each time that two threads wake one another by a lock. */
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
            begin = now_ns(); /* The other thread runs. */
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

enum { CALLS = 1000000 };

/* The calling thread's values of n keys, one after the other. */
static double tss_get(const struct layer *layer, long n)
{
    void *(*get)(Py_tss_t *) = layer->tss_get;
    Py_tss_t *keys = array(n, sizeof *keys);
    for (long i = 0; i < n; i++) {
        if (layer->tss_create(&keys[i]) != 0 || layer->tss_set(&keys[i], &keys[i]) != 0) {
            fail("no key more");
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
        fail("no key more");
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

/* ------------------------------------------------------------------------ memory */

static double resident(void)
{
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (statm == NULL || fscanf(statm, "%*d %ld", &pages) != 1) {
        fail("/proc/self/statm does not say");
    }
    fclose(statm);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

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

/* By how many bytes n threads that are blocked make the process grow. */
static double blocked(const struct layer *layer, long n)
{
    struct gate gate = {.closed = PTHREAD_MUTEX_INITIALIZER};
    PyThread_handle_t *handles = array(n, sizeof *handles);
    memset(handles, 1, (size_t)n * sizeof *handles); /* Resident now, not with the threads. */
    pthread_mutex_lock(&gate.closed);
    double before = resident();
    for (long i = 0; i < n; i++) {
        handles[i] = start(layer, wait_at_gate, &gate);
    }
    while (atomic_load(&gate.reached) < n) {
        usleep(1000);
    }
    usleep(10000);
    double grown = resident() - before;
    pthread_mutex_unlock(&gate.closed);
    for (long i = 0; i < n; i++) {
        join(layer, handles[i]);
    }
    free(handles);
    return grown;
}

/* The same of n threads that were started a thousand at a time, and joined, after as many before
   them: what they keep is what would grow from day to day. */
static double finished(const struct layer *layer, long n)
{
    double before = 0;
    for (int half = 0; half < 2; half++) {
        before = resident();
        for (long done = 0; done < n; done += 1000) {
            batch(layer, 1000);
        }
    }
    return resident() - before;
}

/* ------------------------------------------------------------------------ all of it */

enum { PYTHREAD, PTHREADS, CPYTHON, LAYERS };

/* Whom a work is for. */
enum {
    OURS = 1 << PYTHREAD,       /* no other can */
    BOTH = 1 << CPYTHON | OURS, /* what pthreads do not promise */
    ALL = 1 << PTHREADS | BOTH,
    FLOOR = 0, /* nobody: it needs no layer */
};

static const struct {
    const char *name;
    double (*work)(const struct layer *layer, long n);
    long n;
    int layers;
} works[] = {
    {"start and join, one at a time", one_at_a_time, 500, ALL},
    {"start and join, 1 ms apart", now_and_then, 20, ALL},
    {"start 10, then join, each", batch, 10, ALL},
    {"start 1,000, then join, each", batch, 1000, ALL},
    {"start 100,000, then join, each", batch, 100000, OURS},
    {"64 threads to a barrier", barrier, 64, ALL},
    {"512 threads to a barrier", barrier, 512, ALL},
    {"lock pair, 1 thread", lock_pair, CALLS, ALL},
    {"lock pair, 1 thread", two_exchanges, CALLS, FLOOR},
    {"lock pair, 2 threads", contended, 2, ALL},
    {"lock pair, 4 threads", contended, 4, ALL},
    {"lock pair, 8 threads", contended, 8, ALL},
    {"lock pair, 16 threads", contended, 16, ALL},
    {"lock pair, 32 threads", contended, 32, ALL},
    {"lock pair, 64 threads", contended, 64, ALL},
    {"lock handed to and fro, 2 threads", hand_over, 5000, BOTH},
    {"longest wait for a lock, 8 threads", longest_wait, 8, ALL},
    {"tss_get, 1 key", tss_get, 1, BOTH},
    {"tss_get, 1,000 keys", tss_get, 1000, BOTH},
    {"tss_get, 100,000 keys", tss_get, 100000, OURS},
    {"tss_set", tss_set, CALLS, BOTH},
    {"get_thread_ident", ident, CALLS, BOTH},
    {"get_thread_native_id", native_id, CALLS, BOTH},
};

static void measure(const struct layer *layers, int round, bool print)
{
    for (size_t w = 0; w < sizeof works / sizeof *works; w++) {
        for (int i = 0; i < LAYERS; i++) {
            int l = (i + round) % LAYERS;
            bool floor = works[w].layers == FLOOR && l == PYTHREAD;
            if (floor || (layers[l].name != NULL && (works[w].layers & 1 << l) != 0)) {
                double ns = works[w].work(&layers[l], works[w].n);
                if (print) {
                    printf("%s\t%s\t%.3f\n", works[w].name,
                           floor ? "two exchanges" : layers[l].name, ns);
                }
            }
        }
    }
    fflush(stdout);
}

static const struct {
    const char *name;
    double (*work)(const struct layer *layer, long n);
} lone_works[] = {
    {"blocked", blocked},
    {"finished", finished},
    {"first", one_at_a_time},
    {"barrier", barrier},
};

int main(int argc, char **argv)
{
    if (argc != 4) {
        fail("usage: bench LIBPYTHREAD LIBPYTHON|- ROUNDS\n"
             "       bench LIBRARY|pthreads blocked|finished|first|barrier N");
    }
    for (size_t w = 0; w < sizeof lone_works / sizeof *lone_works; w++) {
        if (strcmp(argv[2], lone_works[w].name) == 0) {
            struct layer layer = strcmp(argv[1], "pthreads") == 0 ? pthreads : load("", argv[1]);
            printf("%.3f\n", lone_works[w].work(&layer, atol(argv[3])));
            return 0;
        }
    }
    struct layer layers[LAYERS] = {
        [PYTHREAD] = load("pythread", argv[1]),
        [PTHREADS] = pthreads,
    };
    if (strcmp(argv[2], "-") != 0) {
        layers[CPYTHON] = load("CPython", argv[2]);
    }
    /* The first round is not printed: a process starts the Go runtime once. */
    for (int round = 0; round <= atoi(argv[3]); round++) {
        measure(layers, round, round > 0);
    }
    return 0;
}
