/*
 * reserve.c - the OS threads under the goroutines that carry threads.
 *
 * Go ends the process when it cannot have an OS thread, and it wants one
 * whenever all that it has are busy. So the OS threads come from here: every
 * pthread_create of the Go runtime is linked (--wrap) to the one below, which
 * takes a thread that waits in reserve. Invariant: before a goroutine is
 * started there exist as many OS threads as there are goroutines under threads
 * plus those that Go can need beside them. A start for which they cannot be
 * made fails, with nothing begun.
 *
 * The runtime itself is started by the first start, not when the library is
 * loaded: a process that starts no thread pays nothing, and the child of its
 * fork has a whole library. It starts beside the first threads, which do not
 * wait for it: until it runs the OS threads here are the carriers. A child of a
 * process whose runtime was started has no scheduler, and never enters Go.
 */
#define _GNU_SOURCE
#include "reserve.h"

#include "args.h"
#include "fork.h"
#include "memory.h"
#include "os.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

typedef void *os_thread_func(void *);

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, os_thread_func *func,
                          void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, os_thread_func *func,
                          void *arg);

atomic_long reserve_os_threads;
atomic_long reserve_carriers;

static struct reserve_client carriers;

/* Guards the reserve. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* What the runtime wanted to run when the library was loaded. */
static os_thread_func *runtime_func;
static void *runtime_arg;

/* The epoch in which the runtime was started; 0 before that. Whether it runs. */
static atomic_uint runtime_epoch;
static atomic_bool runtime_runs;

/* An OS thread in reserve. It owns its record, and gives it back when it is not to be back. */
struct spare {
    struct spare *next;
    pthread_t os_thread;
    /* 0 until func and arg say what to run: for Go, or NULL to be a carrier and come back. */
    atomic_uint called;
    os_thread_func *func;
    void *arg;
};

static struct spare *spares;
static long spare_count;
/* Records of none, for the next ones: to free memory costs every OS thread an arena of the C
   library's, of which Go's need none, and that is much address space. */
static struct spare *unused;

/* The calling OS thread's record, while it is a carrier. */
THREAD_LOCAL struct spare *busy;

/* How many OS threads wait in reserve at most when carriers go. */
enum { KEPT = 64 };

/*
 * Address space that the runtime can take to start, and afterwards. Of the latter the most is for
 * room for its heap to grow, once, since there are so many goroutines at most; so with little left
 * it has that room.
 */
enum { START_SPACE = 3 << 29, HEAP_SPACE = 160 << 20, SPACE_LEFT = 16 << 20 };

/*
 * OS threads that Go can need beside those of carriers and one for each processor: its monitor,
 * the template for new ones, and those between two states, on their way to be idle.
 */
enum { SLACK = 16, FOR_GO = RESERVE_PROCESSORS + SLACK };

/* How many of these must be there: none, then the one that starts the runtime, at last all. */
static atomic_long for_go;

/* Whether so many OS threads exist beside Go's. Relaxed: they are counted, not looked into. */
static bool exist(long carriers)
{
    return atomic_load_explicit(&reserve_os_threads, memory_order_relaxed) >=
           carriers + atomic_load_explicit(&for_go, memory_order_relaxed);
}

int reserve_create(pthread_t *os_thread, os_thread_func *func, void *arg)
{
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    int error = __real_pthread_create(os_thread, &detached, func, arg);
    pthread_attr_destroy(&detached);
    return error;
}

static void push(struct spare **list, struct spare *spare)
{
    spare->next = *list;
    *list = spare;
}

/* Puts a record into the reserve. With the mutex. */
static void add(struct spare *spare)
{
    push(&spares, spare);
    spare_count++;
}

/*
 * Counts the calling OS thread out, unless it is needed. Counts first and asks then: a start at the
 * same time either is part of that need, or looks at the reserve after the need was asked for.
 */
static bool is_needed(void)
{
    atomic_fetch_sub_explicit(&reserve_os_threads, 1, memory_order_relaxed);
    if (exist(carriers.threads_wanted())) {
        return false;
    }
    atomic_fetch_add_explicit(&reserve_os_threads, 1, memory_order_relaxed);
    return true;
}

static void give_record(struct spare *spare)
{
    pthread_mutex_lock(&mutex);
    push(&unused, spare);
    pthread_mutex_unlock(&mutex);
}

static void *wait_in_reserve(void *arg)
{
    struct spare *spare = arg;
    os_thread_func *func = NULL;
    for (bool kept = true; kept;) {
        /* Acquire: func and arg are those of the release in call. */
        while (atomic_load_explicit(&spare->called, memory_order_acquire) == 0) {
            os_wait(&spare->called, 0, OS_NO_DEADLINE);
        }
        if ((func = spare->func) != NULL) {
            arg = spare->arg;
            break;
        }
        busy = spare;
        carriers.work();
        busy = NULL;
        pthread_mutex_lock(&mutex);
        if ((kept = spare_count < KEPT || is_needed())) {
            atomic_store_explicit(&spare->called, 0, memory_order_relaxed);
            add(spare);
        }
        pthread_mutex_unlock(&mutex);
        /* Not before: either it is in reserve or a carrier has it. */
        atomic_fetch_sub_explicit(&reserve_carriers, 1, memory_order_relaxed);
    }
    give_record(spare);
    return func != NULL ? func(arg) : NULL;
}

/* Adds an OS thread to the reserve. */
static bool add_spare(void)
{
    pthread_mutex_lock(&mutex);
    struct spare *spare = unused;
    if (spare != NULL) {
        unused = spare->next;
    }
    pthread_mutex_unlock(&mutex);
    if (spare == NULL && (spare = calloc(1, sizeof *spare)) == NULL) {
        return false;
    }
    atomic_store_explicit(&spare->called, 0, memory_order_relaxed);
    if (reserve_create(&spare->os_thread, wait_in_reserve, spare) != 0) {
        give_record(spare);
        return false;
    }
    pthread_mutex_lock(&mutex);
    add(spare);
    pthread_mutex_unlock(&mutex);
    atomic_fetch_add_explicit(&reserve_os_threads, 1, memory_order_relaxed);
    return true;
}

/* Takes an OS thread out of the reserve. NULL when there is none. */
static struct spare *take_spare(void)
{
    pthread_mutex_lock(&mutex);
    struct spare *spare = spares;
    if (spare != NULL) {
        spares = spare->next;
        spare_count--;
    }
    pthread_mutex_unlock(&mutex);
    return spare;
}

/* Has it run func(arg) for Go or, where func is NULL, be a carrier. */
static void call(struct spare *spare, os_thread_func *func, void *arg)
{
    spare->func = func;
    spare->arg = arg;
    atomic_store_explicit(&spare->called, 1, memory_order_release);
    os_wake(&spare->called, 1);
}

static void *end(void *arg)
{
    return arg;
}

void reserve_trim(void)
{
    enum { AT_ONCE = 8 };
    for (int i = 0; i < AT_ONCE; i++) {
        struct spare *spare = NULL;
        pthread_mutex_lock(&mutex);
        if (spare_count > KEPT && !is_needed()) {
            spare = spares;
            spares = spare->next;
            spare_count--;
        }
        pthread_mutex_unlock(&mutex);
        if (spare == NULL) {
            return;
        }
        call(spare, end, NULL);
    }
}

bool reserve_run_carrier(void)
{
    struct spare *spare = take_spare();
    if (spare != NULL) {
        call(spare, NULL, NULL);
    }
    return spare != NULL;
}

/* The Go runtime's pthread_create. Called with all signals blocked. */
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, os_thread_func *func,
                          void *arg)
{
    (void)attr; /* The defaults, with which the reserve was made too. */
    const struct timespec pause = {0, 1000000};
    struct spare *spare;
    if (atomic_load_explicit(&runtime_epoch, memory_order_relaxed) == 0) {
        /* The library is being loaded: the runtime's first thread, which asks for no answer. */
        runtime_func = func;
        runtime_arg = arg;
        return 0;
    }
    while ((spare = take_spare()) == NULL) {
        /* Should what Go can need ever have been counted too small: an error would end the process
           where another OS thread, or the end of one, may yet help. */
        if (!add_spare()) {
            nanosleep(&pause, NULL);
        }
    }
    *thread = spare->os_thread;
    call(spare, func, arg);
    return 0;
}

/* Adds to the reserve until it has so many more than needed now. */
static bool add_spares(long more)
{
    while (!exist(carriers.threads_wanted() + more)) {
        if (!add_spare() && !exist(carriers.threads_wanted() + more)) {
            return false;
        }
    }
    return true;
}

bool reserve_go_runs(void)
{
    /* Acquire: pairs with the release in reserve_runtime_runs. */
    return atomic_load_explicit(&runtime_runs, memory_order_acquire);
}

static bool hold_memory(void)
{
    return memory_hold(HEAP_SPACE, SPACE_LEFT);
}

void reserve_runtime_runs(void)
{
    /* Release: what it took to start was taken before less is held back. */
    atomic_store_explicit(&runtime_runs, true, memory_order_release);
    hold_memory();
    args_after_runtime();
}

static bool has_started_go(void)
{
    return atomic_load_explicit(&runtime_epoch, memory_order_relaxed) != 0;
}

bool reserve_suffices(long needed)
{
    return has_started_go() && exist(needed) && (!reserve_go_runs() || memory_is_held(HEAP_SPACE));
}

/* A start found no room. */
static atomic_bool refused;

/* All that Go can need. From when it is said how many OS threads that are every start sees to them,
   so it is said when most are there: no start shall have to make them all. */
static bool fill_for_go(void)
{
    if (!add_spares(FOR_GO - 1)) {
        return false;
    }
    atomic_store_explicit(&for_go, FOR_GO, memory_order_relaxed);
    bool filled = add_spares(0) && memory_hold(START_SPACE, START_SPACE);
    /* What has become free since belongs to the threads. Acquire: it was refused before. */
    if (filled && atomic_load_explicit(&refused, memory_order_acquire)) {
        memory_give_back();
        filled = false;
    }
    return filled;
}

static void *start_go(void *unused_arg)
{
    if (fill_for_go()) {
        args_before_runtime();
        return runtime_func(runtime_arg);
    }
    /* And it is not tried again: what threads have had once they can have again, Go took none. */
    atomic_fetch_sub_explicit(&reserve_os_threads, 1, memory_order_relaxed);
    atomic_store_explicit(&for_go, 0, memory_order_relaxed);
    return unused_arg;
}

bool reserve_fill(void)
{
    /* What OS threads for Go begin with: signals are the host's business. */
    uint64_t mask = os_set_signal_mask(OS_ALL_SIGNALS);
    unsigned not_started = 0;
    bool room = add_spares(0) && (!reserve_go_runs() || hold_memory());
    if (!room) {
        atomic_store_explicit(&refused, true, memory_order_release);
    }
    /* Said before it is so: a child forked from now on has no runtime, and will not have one. */
    if (room &&
        atomic_compare_exchange_strong_explicit(&runtime_epoch, &not_started, fork_epoch(),
                                                memory_order_relaxed, memory_order_relaxed)) {
        /* A start before the first that found room has no part in this. */
        atomic_store_explicit(&refused, false, memory_order_relaxed);
        atomic_store_explicit(&for_go, 1, memory_order_relaxed);
        struct spare *spare = add_spares(0) ? take_spare() : NULL;
        if (spare != NULL) {
            call(spare, start_go, NULL);
        } else {
            atomic_store_explicit(&for_go, 0, memory_order_relaxed);
        }
    }
    os_set_signal_mask(mask);
    return room;
}

bool reserve_has_go(void)
{
    unsigned epoch = atomic_load_explicit(&runtime_epoch, memory_order_relaxed);
    return epoch == 0 || epoch == fork_epoch();
}

bool reserve_has_carrier(void)
{
    return busy != NULL;
}

void reserve_lost(void)
{
    if (busy != NULL) {
        give_record(busy);
    }
    atomic_fetch_sub_explicit(&reserve_os_threads, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&reserve_carriers, 1, memory_order_relaxed);
}

void reserve_serve(struct reserve_client client)
{
    carriers = client;
}

/* The parent's other threads, one of which may have held the mutex, are not in the child. */
void reserve_after_fork(void)
{
    mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    spares = NULL;
    spare_count = 0;
    atomic_store_explicit(&reserve_os_threads, 0, memory_order_relaxed);
    atomic_store_explicit(&reserve_carriers, 0, memory_order_relaxed);
    atomic_store_explicit(&for_go, 0, memory_order_relaxed);
    memory_after_fork();
}
