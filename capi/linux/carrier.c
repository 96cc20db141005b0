/*
 * carrier.c - how a started thread comes to run: the queue of started threads,
 * and the carriers that take threads from it.
 *
 * A carrier is a goroutine, or a pthread of the reserve. When its thread ends it
 * takes the next one, so that short threads follow each other on one OS thread
 * without a step into Go. But any thread may block, and no other thread may wait
 * for it. Invariant: while the queue is not empty, at least one carrier is
 * coming, and a carrier that takes a thread launches others before it runs that
 * thread if more threads are queued. A carrier is coming from its launch, and
 * again from the end of its thread, until it takes a thread or gives up.
 */
#define _GNU_SOURCE
#include "carrier.h"

#include "_cgo_export.h"
#include "fork.h"
#include "os.h"
#include "reserve.h"
#include "signals.h"
#include "status.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/queue.h>

/*
 * Guards the variables below. It is held for a few instructions, so a waiter had better spin.
 * Lock order: the reserve's mutex comes before this one.
 */
static pthread_mutex_t mutex = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
static struct carrier_work *first, **last = &first;
/* The number of carriers that are coming. */
static long coming;

/* A carrier that sleeps until it is called. */
struct parked {
    LIST_ENTRY(parked) link;
    atomic_uint called;
};

static LIST_HEAD(, parked) parked;
static long parked_count;

/* The length of the queue. It changes under the mutex; a carrier that lingers reads it without. */
static atomic_long queued;

/* The number of starts that are between their question for room and their answer. Each of them may
   need one more OS thread. */
static long starting;

/*
 * The number of carriers that may be coming at once. Where threads are short it is one: that
 * carrier takes them as fast as they are started, and others would come in vain. Where more than
 * BLOCKED threads were taken since one ended, threads block, and a single carrier would come to
 * them one after the other: then it is MOST_COMING.
 */
enum { BLOCKED = 2, MOST_COMING = 16 };
static long taken_since_end;

/*
 * A carrier that finds the queue empty lingers, then parks, then goes back to Go or to the reserve.
 * It lingers for about as long as it takes to wake it, and only while few others do. It parks
 * because one system call wakes it from there, while the way back from Go is longer.
 */
enum { LINGERING = 2, LINGER_NS = 20000, PARK_NS = 100000000 };

/* Carriers that were claimed and have to be launched: parked ones, and the number of new ones. */
struct claim {
    int parked;
    atomic_uint *called[MOST_COMING];
    long new;
};

/* With the mutex: decides how many more carriers the queue needs, and counts them as coming. */
static struct claim claim_carriers(void)
{
    struct claim claim = {0};
    long waiting = atomic_load_explicit(&queued, memory_order_relaxed);
    long most = taken_since_end > BLOCKED ? MOST_COMING : 1;
    long more = (waiting < most ? waiting : most) - coming;
    if (more > 0) {
        coming += more;
        for (; more > 0 && !LIST_EMPTY(&parked); more--) {
            /* The last one that parked: its cache may be warm, and the others get to leave. */
            struct parked *carrier = LIST_FIRST(&parked);
            LIST_REMOVE(carrier, link);
            parked_count--;
            atomic_store_explicit(&carrier->called, 1, memory_order_relaxed);
            claim.called[claim.parked++] = &carrier->called;
        }
        claim.new = more;
        atomic_fetch_add_explicit(&reserve_carriers, more, memory_order_relaxed);
    }
    return claim;
}

/*
 * The number of carriers from which on new ones are pthreads. Where so many carriers are in threads
 * that do not end, a goroutine buys nothing, and takes as much memory as the pthread under it.
 */
enum { GOROUTINES = 256 };

/*
 * Launches the carriers of a claim. While the Go runtime does not run, every new carrier finds a
 * pthread in the reserve, since the OS threads that are not carriers all wait there. Where the
 * reserve is empty, Go has idle OS threads enough for new goroutines, since enough exist for both.
 */
static void launch(const struct claim *claim)
{
    struct signals host;
    long goroutines = 0;
    for (int i = 0; i < claim->parked; i++) {
        os_wake(claim->called[i], 1);
    }
    for (long i = 0; i < claim->new; i++) {
        bool pthread = atomic_load_explicit(&reserve_carriers, memory_order_relaxed) > GOROUTINES ||
                       !reserve_go_running();
        goroutines += !pthread || !reserve_run_carrier();
    }
    if (goroutines > 0) {
        signals_enter_go(&host);
        pythread_go_carriers(goroutines);
        signals_leave_go(&host);
    }
}

/* With the mutex. The number of carriers, coming or parked, for which no thread is queued. */
static long free_carriers(void)
{
    return coming + parked_count - atomic_load_explicit(&queued, memory_order_relaxed);
}

/*
 * With the mutex. The number of OS threads that the carriers can want. A start that waits for the
 * reserve counts as one carrier more, even where a carrier is free: that one may leave before the
 * start comes to it, and its OS thread be on its way back.
 */
static long os_threads_wanted(void)
{
    long more = -free_carriers();
    /* Acquire: see reserve_thread_exited. */
    return atomic_load_explicit(&reserve_carriers, memory_order_acquire) + starting +
           (more > 0 ? more : 0);
}

/* What the reserve calls, also while it holds its own mutex. */
static long lock_and_count_wanted(void)
{
    pthread_mutex_lock(&mutex);
    long wanted = os_threads_wanted();
    pthread_mutex_unlock(&mutex);
    return wanted;
}

/* With the mutex. True if a carrier can be had for one more thread. */
static bool has_room(void)
{
    return free_carriers() > 0 || reserve_suffices(os_threads_wanted());
}

/* How long a starter waits for the carriers to catch up: as long as it takes to make the OS thread
   that the wait may save. */
enum { CATCH_UP_NS = 30000 };

/*
 * With the mutex, which it gives up meanwhile. Lets the carriers catch up with the starts, half of
 * the way, so that the next starts need not wait. True if a carrier can be had then. Where threads
 * block, carriers do not catch up: each failure doubles the number of starts that skip the wait.
 */
static bool catch_up(void)
{
    static int skipped, backoff;
    enum { MOST_BACKOFF = 127 };
    long waiting = atomic_load_explicit(&queued, memory_order_relaxed);
    if (waiting == 0 || skipped++ < backoff) {
        return false;
    }
    pthread_mutex_unlock(&mutex);
    int64_t deadline = os_deadline_in(CATCH_UP_NS);
    do {
        sched_yield();
    } while (atomic_load_explicit(&queued, memory_order_relaxed) > waiting / 2 &&
             os_now_ns() < deadline);
    pthread_mutex_lock(&mutex);
    bool room = has_room();
    skipped = 0;
    backoff = room ? 0 : backoff < MOST_BACKOFF ? 2 * backoff + 1 : backoff;
    return room;
}

bool carrier_start(struct carrier_work *work)
{
    struct claim claim = {0};
    if (!reserve_go_allowed()) {
        return false;
    }
    work->next = NULL;
    pthread_mutex_lock(&mutex);
    starting++;
    bool room = has_room() || catch_up();
    if (!room) {
        pthread_mutex_unlock(&mutex);
        room = reserve_ensure_threads();
        if (room) {
            reserve_start_go();
        }
        pthread_mutex_lock(&mutex);
        room = room || free_carriers() > 0;
    }
    starting--;
    if (room) {
        *last = work;
        last = &work->next;
        atomic_fetch_add_explicit(&queued, 1, memory_order_relaxed);
        claim = claim_carriers();
    }
    pthread_mutex_unlock(&mutex);
    launch(&claim);
    return room;
}

/* Waits a while for a start. A carrier that lingers alone takes the thread at once. One of several
   yields its processor meanwhile, but still need not be woken. */
static void linger(bool alone)
{
    struct os_spin spin = os_spin_begin(LINGER_NS);
    while (atomic_load_explicit(&queued, memory_order_relaxed) == 0 && os_spin(&spin)) {
        if (!alone) {
            sched_yield();
        }
    }
}

/* With the mutex, which it gives up meanwhile. Sleeps for PARK_NS at most. True if the carrier was
   called; then it counts as coming. */
static bool park(void)
{
    struct parked self = {.called = 0};
    int64_t deadline = os_deadline_in(PARK_NS);
    LIST_INSERT_HEAD(&parked, &self, link);
    parked_count++;
    pthread_mutex_unlock(&mutex);
    /* Relaxed: the mutex orders what the carrier finds. */
    while (atomic_load_explicit(&self.called, memory_order_relaxed) == 0 &&
           os_wait(&self.called, 0, deadline) != ETIMEDOUT) {
    }
    pthread_mutex_lock(&mutex);
    bool called = atomic_load_explicit(&self.called, memory_order_relaxed) != 0;
    if (!called) {
        LIST_REMOVE(&self, link);
        parked_count--;
    }
    return called;
}

/* With the mutex. The next thread for the calling carrier, which is coming; NULL when the carrier
   gives up, and is coming no longer. */
static struct carrier_work *take(void)
{
    bool lingered = false;
    while (first == NULL) {
        if (coming <= LINGERING && !lingered) {
            bool alone = coming == 1;
            pthread_mutex_unlock(&mutex);
            linger(alone);
            pthread_mutex_lock(&mutex);
            lingered = true;
            continue;
        }
        coming--;
        /* A carrier of the reserve sleeps in the reserve instead. */
        if (reserve_is_caller() || !park()) {
            return NULL;
        }
        lingered = false;
    }
    struct carrier_work *work = first;
    first = work->next;
    if (first == NULL) {
        last = &first;
    }
    atomic_fetch_sub_explicit(&queued, 1, memory_order_relaxed);
    coming--;
    taken_since_end++;
    return work;
}

void carrier_run(void)
{
    uint64_t float_mode = os_float_mode();
    struct carrier_work *work;
    signals_enter_host();
    pthread_mutex_lock(&mutex);
    while ((work = take()) != NULL) {
        struct claim claim = claim_carriers();
        pthread_mutex_unlock(&mutex);
        launch(&claim);
        work->run(work);
        pthread_mutex_lock(&mutex);
        coming++;
        taken_since_end = 0;
    }
    pthread_mutex_unlock(&mutex);
    reserve_trim();
    os_set_float_mode(float_mode);
    signals_leave_host();
}

/*
 * A variable of the Go runtime's, which holds the function that runs function(argument) in Go. The
 * runtime's own C code calls it, with function NULL, when an OS thread of the host's ends that has
 * called Go before.
 */
extern void (*x_crosscall2_ptr)(void (*function)(void *), void *argument, int size, size_t context);
static void (*call_go)(void (*function)(void *), void *argument, int size, size_t context);

/*
 * Stands in that variable, since the OS thread that ends has the host's signal mask and signal
 * stack. In the child of a fork there is nothing to end, and a call into Go could hang.
 */
static void call_go_guarded(void (*function)(void *), void *argument, int size, size_t context)
{
    struct signals host;
    if (reserve_go_allowed()) {
        signals_enter_go(&host);
        call_go(function, argument, size, context);
        signals_leave_go(&host);
    }
}

void carrier_go_began(void)
{
    call_go = x_crosscall2_ptr;
    x_crosscall2_ptr = call_go_guarded;
}

/*
 * The child of a fork has no carrier. It needs this state only where it may still enter Go: there
 * no carrier was ever launched, and what a start in another thread had begun is undone.
 */
static void after_fork(void)
{
    mutex = (pthread_mutex_t)PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
    first = NULL;
    last = &first;
    coming = 0;
    LIST_INIT(&parked);
    parked_count = 0;
    atomic_store_explicit(&queued, 0, memory_order_relaxed);
    starting = 0;
    status_forget_all();
    reserve_after_fork();
}

__attribute__((constructor)) static void at_load(void)
{
    reserve_serve(
        (struct reserve_client){.threads_wanted = lock_and_count_wanted, .work = carrier_run});
    fork_on_child(after_fork);
}
