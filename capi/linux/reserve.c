/*
 * reserve.c - the OS threads under carriers.
 *
 * Go ends the process when it cannot have an OS thread, and it wants one
 * whenever all that it has are busy. So it gets its OS threads here: every
 * pthread_create of the Go runtime is linked (--wrap) to the one below, which
 * takes a pthread that waits in reserve. Invariant: before a goroutine is
 * started, there exist as many OS threads as there are carriers, and beside
 * those as many as Go itself can need. A start for which they cannot be made
 * fails, with nothing begun.
 *
 * The first start of a thread starts the Go runtime, not the load of the
 * library: a process that starts no thread pays nothing, and the child of its
 * fork has a whole library. The runtime starts beside the first threads, which
 * do not wait for it; until it runs, pthreads of the reserve are the carriers.
 * The child of a process whose runtime was started has no Go scheduler, and
 * never enters Go.
 */
#define _GNU_SOURCE
#include "reserve.h"

#include "args.h"
#include "fork.h"
#include "internal/nofile/nofile.h"
#include "memory.h"
#include "os.h"
#include "stack.h"

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

/* Guards the two lists of spares below. Lock order: this mutex, then the carriers'. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* An OS thread in reserve. The record belongs to that OS thread until it leaves the reserve. */
struct spare {
    struct spare *next;
    pthread_t os_thread;
    /* Becomes 1 when func and arg are set: func is what Go wants to run, or NULL for a carrier. */
    atomic_uint called;
    os_thread_func *func;
    void *arg;
};

static struct spare *spares;
static long spare_count;
/* Records without an OS thread, for later ones. They are not freed: a free gives the OS thread that
   calls it an arena of the C library's, much address space, and Go's OS threads need none. */
static struct spare *unused_records;

/* The calling OS thread's record, while that OS thread is a carrier. */
THREAD_LOCAL struct spare *busy;

/* How many OS threads stay in reserve when carriers leave. */
enum { KEPT = 64 };

/*
 * The address space that the Go runtime can take to start, and from then on. Most of HEAP_SPACE is
 * for its heap, which grows once, since the number of goroutines is limited. After that, SPACE_LEFT
 * of it is enough.
 */
enum { START_SPACE = 3 << 29, HEAP_SPACE = 160 << 20, SPACE_LEFT = 16 << 20 };

/*
 * The OS threads that Go can need beside the carriers': one for each processor, and SLACK for its
 * monitor, its template for new OS threads, and those on their way between busy and idle.
 */
enum { SLACK = 16, GO_QUOTA = RESERVE_PROCESSORS + SLACK };

/* How many of these the reserve has to have: none before Go's start, 1 during it, then GO_QUOTA. */
static atomic_long go_quota;

/* True if OS threads for so many carriers exist beside Go's own. Relaxed: a count publishes
   nothing; the mutex publishes the OS threads. */
static bool exist(long carrier_threads)
{
    return atomic_load_explicit(&reserve_os_threads, memory_order_relaxed) >=
           carrier_threads + atomic_load_explicit(&go_quota, memory_order_relaxed);
}

int reserve_create(pthread_t *os_thread, os_thread_func *func, void *arg, size_t stack_size)
{
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    stack_set_size(&detached, stack_size);
    int error = __real_pthread_create(os_thread, &detached, func, arg);
    pthread_attr_destroy(&detached);
    return error;
}

static void push(struct spare **list, struct spare *spare)
{
    spare->next = *list;
    *list = spare;
}

/* With the mutex. Puts an OS thread into the reserve. */
static void add(struct spare *spare)
{
    push(&spares, spare);
    spare_count++;
}

/*
 * True if the calling OS thread, or one that the caller took out of the reserve, has to stay; else
 * that OS thread counts no longer. The count goes down before the question is asked: a start at the
 * same time either is part of the answer, or reads the count after that.
 */
static bool is_wanted(void)
{
    atomic_fetch_sub_explicit(&reserve_os_threads, 1, memory_order_relaxed);
    if (exist(carriers.threads_wanted())) {
        return false;
    }
    atomic_fetch_add_explicit(&reserve_os_threads, 1, memory_order_relaxed);
    return true;
}

static void keep_record(struct spare *spare)
{
    pthread_mutex_lock(&mutex);
    push(&unused_records, spare);
    pthread_mutex_unlock(&mutex);
}

static void *wait_in_reserve(void *arg)
{
    struct spare *spare = arg;
    os_thread_func *func = NULL;
    for (bool stays = true; stays;) {
        /* Acquire: pairs with the release in call, which publishes func and arg. */
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
        if ((stays = spare_count < KEPT || is_wanted())) {
            atomic_store_explicit(&spare->called, 0, memory_order_relaxed);
            add(spare);
        }
        pthread_mutex_unlock(&mutex);
        /* Not earlier: at any moment this OS thread is in the reserve or under a carrier. */
        atomic_fetch_sub_explicit(&reserve_carriers, 1, memory_order_relaxed);
    }
    keep_record(spare);
    return func != NULL ? func(arg) : NULL;
}

/* Makes an OS thread for the reserve. False when the system refuses it. */
static bool add_spare(void)
{
    pthread_mutex_lock(&mutex);
    struct spare *spare = unused_records;
    if (spare != NULL) {
        unused_records = spare->next;
    }
    pthread_mutex_unlock(&mutex);
    if (spare == NULL && (spare = calloc(1, sizeof *spare)) == NULL) {
        return false;
    }
    atomic_store_explicit(&spare->called, 0, memory_order_relaxed);
    if (reserve_create(&spare->os_thread, wait_in_reserve, spare, 0) != 0) {
        keep_record(spare);
        return false;
    }
    pthread_mutex_lock(&mutex);
    add(spare);
    pthread_mutex_unlock(&mutex);
    atomic_fetch_add_explicit(&reserve_os_threads, 1, memory_order_relaxed);
    return true;
}

/* Takes an OS thread out of the reserve. NULL when the reserve is empty. */
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

/* Tells an OS thread of the reserve what to run: func(arg) or, with func NULL, the carrier's work.
 */
static void call(struct spare *spare, os_thread_func *func, void *arg)
{
    spare->func = func;
    spare->arg = arg;
    /* Release: publishes func and arg. */
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
        if (spare_count > KEPT && !is_wanted()) {
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

bool reserve_is_caller(void)
{
    return busy != NULL;
}

void reserve_thread_exited(void)
{
    if (busy != NULL) {
        keep_record(busy);
    }
    /* Release, and acquire where the carriers are read: a start that no longer counts this carrier
       does not count on its OS thread either. */
    atomic_fetch_sub_explicit(&reserve_os_threads, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&reserve_carriers, 1, memory_order_release);
}

/* Makes OS threads until there are so many more than the carriers want at the moment. */
static bool add_spares(long more)
{
    while (!exist(carriers.threads_wanted() + more)) {
        /* Refused; but a carrier may have come free meanwhile. */
        if (!add_spare() && !exist(carriers.threads_wanted() + more)) {
            return false;
        }
    }
    return true;
}

/* ------------------------------------------------------------------------ the Go runtime */

/* What the runtime wanted to run when the library was loaded. */
static os_thread_func *runtime_func;
static void *runtime_arg;

/* The epoch of the process that had its Go runtime started; 0 before that. Relaxed everywhere: the
   call of the spare that runs it publishes what it needs. */
static atomic_uint go_epoch;
static atomic_bool go_running;

/* A start found no room. */
static atomic_bool refused;

/* The Go runtime's pthread_create. The runtime calls it with all signals blocked. */
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, os_thread_func *func,
                          void *arg)
{
    (void)attr; /* The defaults, with which the reserve was made too. */
    const struct timespec pause = {0, 1000000};
    struct spare *spare;
    if (atomic_load_explicit(&go_epoch, memory_order_relaxed) == 0) {
        /* The library is being loaded, and this is the runtime's first thread. The runtime does not
           look at *thread. */
        runtime_func = func;
        runtime_arg = arg;
        return 0;
    }
    if (!reserve_go_running()) {
        /* The program may have set it until now. */
        nofile_note();
    }
    while ((spare = take_spare()) == NULL) {
        /* The quota was too small. An error would end the process, so wait: another OS thread, or
           the end of one, may yet help. */
        if (!add_spare()) {
            nanosleep(&pause, NULL);
        }
    }
    *thread = spare->os_thread;
    call(spare, func, arg);
    return 0;
}

static bool hold_memory(void)
{
    return memory_hold(HEAP_SPACE, SPACE_LEFT);
}

void reserve_go_began(void)
{
    /* Release: what the runtime took for its start it took before less is held back. */
    atomic_store_explicit(&go_running, true, memory_order_release);
    hold_memory();
    args_after_runtime();
}

bool reserve_go_running(void)
{
    /* Acquire: pairs with the release in reserve_go_began. */
    return atomic_load_explicit(&go_running, memory_order_acquire);
}

static bool go_start_requested(void)
{
    return atomic_load_explicit(&go_epoch, memory_order_relaxed) != 0;
}

bool reserve_go_allowed(void)
{
    unsigned epoch = atomic_load_explicit(&go_epoch, memory_order_relaxed);
    return epoch == 0 || epoch == fork_epoch();
}

bool reserve_suffices(long carrier_threads)
{
    /* Not before Go's start was requested: the first thread's start has to come to that. */
    return go_start_requested() && exist(carrier_threads) &&
           (!reserve_go_running() || memory_is_held(HEAP_SPACE));
}

/* Makes all the OS threads that Go can need, and holds back the memory for its start. */
static bool fill_go_quota(void)
{
    if (!add_spares(GO_QUOTA - 1)) {
        return false;
    }
    /* Once this is set, every start fills the quota. So it is set when the quota is nearly full:
       no start shall have to make all these OS threads. */
    atomic_store_explicit(&go_quota, GO_QUOTA, memory_order_relaxed);
    bool filled = add_spares(0) && memory_hold(START_SPACE, START_SPACE);
    /* Room that has come free since a start was refused belongs to the threads. Acquire: pairs with
       the release in reserve_ensure_threads, so what was refused was not free yet. */
    if (filled && atomic_load_explicit(&refused, memory_order_acquire)) {
        memory_give_back();
        filled = false;
    }
    return filled;
}

static void *run_go(void *unused)
{
    if (fill_go_quota()) {
        args_before_runtime();
        return runtime_func(runtime_arg);
    }
    /* The runtime is not started, nor tried again. What threads could have once they can have
       again, since Go took none of it. */
    atomic_fetch_sub_explicit(&reserve_os_threads, 1, memory_order_relaxed);
    atomic_store_explicit(&go_quota, 0, memory_order_relaxed);
    return unused;
}

bool reserve_ensure_threads(void)
{
    /* The OS threads begin with this mask: signals are the host's business. */
    uint64_t mask = os_block_signals();
    bool room = add_spares(0) && (!reserve_go_running() || hold_memory());
    if (!room) {
        /* Release: see fill_go_quota. */
        atomic_store_explicit(&refused, true, memory_order_release);
    }
    os_set_signal_mask(mask);
    return room;
}

void reserve_start_go(void)
{
    unsigned none = 0;
    /* Publish first: a child that is forked from here on has no runtime, and must not start one. */
    if (go_start_requested() ||
        !atomic_compare_exchange_strong_explicit(&go_epoch, &none, fork_epoch(),
                                                 memory_order_relaxed, memory_order_relaxed)) {
        return;
    }
    uint64_t mask = os_block_signals();
    /* A start that was refused before the first that found room has no part in this. */
    atomic_store_explicit(&refused, false, memory_order_relaxed);
    atomic_store_explicit(&go_quota, 1, memory_order_relaxed);
    struct spare *spare = add_spares(0) ? take_spare() : NULL;
    if (spare != NULL) {
        call(spare, run_go, NULL);
    } else {
        atomic_store_explicit(&go_quota, 0, memory_order_relaxed);
    }
    os_set_signal_mask(mask);
}

/* ------------------------------------------------------------------------ begin and fork */

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
    atomic_store_explicit(&go_quota, 0, memory_order_relaxed);
    memory_after_fork();
}
