/*
 * carrier.c - how started threads come to run: the queue, and the carriers,
 * goroutines, and pthreads where there are very many, that take threads from it.
 *
 * A carrier that has run a thread to its end takes the next, so that short
 * threads follow each other on one OS thread without a step into Go; but any
 * thread may block, and no other may wait for it. Invariant: while the queue
 * is not empty, at least one carrier is on its way to it, and one that takes a
 * thread first has others sent for where threads remain. `coming` counts those
 * on their way: sent for and not yet there, or there and looking.
 */
#define _GNU_SOURCE
#include "carrier.h"

#include "_cgo_export.h"
#include "fork.h"
#include "os.h"
#include "reserve.h"
#include "signals.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/queue.h>

/* Guards what follows. Held for a few instructions, so that to spin for it is right. */
static pthread_mutex_t mutex = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
static struct carrier_work *first, **last = &first;
static long coming;

/* A carrier that sleeps until it is called. */
struct parked {
    LIST_ENTRY(parked) link;
    atomic_uint called;
};

static LIST_HEAD(, parked) parked;
static long parked_count;

/* The length of the queue: changed under the mutex, but watched by a carrier that lingers. */
static atomic_long queued;

/* Starts that wait for the reserve: each may need an OS thread yet. */
static long starting;

/*
 * How many carriers are on their way at most. Where threads are short, one: it takes them as fast
 * as they are started, and more would come in vain. Where so many were taken since one ended they
 * block, and one would get each its carrier after the other's; so more are on their way.
 */
enum { BLOCKED = 2, COMING = 16 };
static long taken;

/*
 * How many carriers with nothing to run linger for another start, and how long: about as long as it
 * takes to wake one. How long one is parked then before it goes back to Go, from where the way is
 * longer: one system call wakes it here.
 */
enum { LINGERING = 2, LINGER_NS = 20000, PARK_NS = 100000000 };

/* Carriers to be sent for: those to be woken, and the number of new ones. */
struct wanted {
    int woken;
    atomic_uint *words[COMING];
    long missing;
};

/* With the mutex: counts as coming, and returns, the carriers to be sent for. */
static struct wanted send_for(void)
{
    struct wanted wanted = {0};
    long waiting = atomic_load_explicit(&queued, memory_order_relaxed);
    long most = taken > BLOCKED ? COMING : 1;
    long more = (waiting < most ? waiting : most) - coming;
    if (more > 0) {
        coming += more;
        for (; more > 0 && !LIST_EMPTY(&parked); more--) {
            /* The one that parked last: its cache may be warm, and the others come to go. */
            struct parked *carrier = LIST_FIRST(&parked);
            LIST_REMOVE(carrier, link);
            parked_count--;
            atomic_store_explicit(&carrier->called, 1, memory_order_relaxed);
            wanted.words[wanted.woken++] = &carrier->called;
        }
        wanted.missing = more;
        atomic_fetch_add_explicit(&reserve_carriers, more, memory_order_relaxed);
    }
    return wanted;
}

/*
 * How many carriers there are before further ones are pthreads. Where so many are in threads that
 * do not end, a goroutine, which takes as much memory again as the pthread under it, buys nothing.
 */
enum { GOROUTINES = 256 };

/*
 * Has carriers start, which send_for has counted. Where no OS thread is in reserve Go has those
 * that they need, idle, as there are enough of both; and where Go does not run yet all that are not
 * carriers are in reserve.
 */
static void send(const struct wanted *wanted)
{
    struct signals host;
    long goroutines = 0;
    for (int i = 0; i < wanted->woken; i++) {
        os_wake(wanted->words[i], 1);
    }
    for (long carriers = wanted->missing; carriers > 0; carriers--) {
        bool pthread = atomic_load_explicit(&reserve_carriers, memory_order_relaxed) > GOROUTINES ||
                       !reserve_go_runs();
        goroutines += !pthread || !reserve_run_carrier();
    }
    if (goroutines > 0) {
        signals_enter_go(&host);
        pythread_go_carriers(goroutines);
        signals_leave_go(&host);
    }
}

/* With the mutex. How many more carriers are on their way or parked than there are threads in the
   queue for. */
static long free_carriers(void)
{
    return coming + parked_count - atomic_load_explicit(&queued, memory_order_relaxed);
}

/* With the mutex. Free carriers may go before a start that waits for the reserve comes to them, and
   their OS threads be on the way back then: such a start is counted in full. */
static long need(void)
{
    long more = -free_carriers();
    return atomic_load_explicit(&reserve_carriers, memory_order_relaxed) + starting +
           (more > 0 ? more : 0);
}

/* The reserve asks, with its own mutex held or not: that mutex comes first in the lock order. */
static long threads_wanted(void)
{
    pthread_mutex_lock(&mutex);
    long wanted = need();
    pthread_mutex_unlock(&mutex);
    return wanted;
}

/* How long a starter that is ahead of the carriers waits for them: as long as it takes to make an
   OS thread, which it may save. */
enum { CATCH_UP_NS = 30000 };

/*
 * With the mutex, which it gives up meanwhile: lets the carriers catch up with the starts, half of
 * the way, so that the next starts need not wait. Whether there is room then. Where there is not,
 * since threads block, the next starts do without, the more of them the oftener that is so.
 */
static bool catch_up(void)
{
    static int skipped, in_vain;
    long waiting = atomic_load_explicit(&queued, memory_order_relaxed);
    if (waiting == 0 || skipped++ < in_vain) {
        return false;
    }
    pthread_mutex_unlock(&mutex);
    int64_t deadline = os_deadline_in(CATCH_UP_NS);
    do {
        sched_yield();
    } while (atomic_load_explicit(&queued, memory_order_relaxed) > waiting / 2 &&
             os_now_ns() < deadline);
    pthread_mutex_lock(&mutex);
    bool room = free_carriers() > 0 || reserve_suffices(need());
    skipped = 0;
    in_vain = room ? 0 : in_vain < 64 ? 2 * in_vain + 1 : in_vain;
    return room;
}

bool carrier_start(struct carrier_work *work)
{
    struct wanted wanted = {0};
    if (!reserve_has_go()) {
        return false;
    }
    work->next = NULL;
    pthread_mutex_lock(&mutex);
    starting++;
    bool room = free_carriers() > 0 || reserve_suffices(need()) || catch_up();
    if (!room) {
        pthread_mutex_unlock(&mutex);
        room = reserve_fill();
        pthread_mutex_lock(&mutex);
        room = room || free_carriers() > 0;
    }
    starting--;
    if (room) {
        *last = work;
        last = &work->next;
        atomic_fetch_add_explicit(&queued, 1, memory_order_relaxed);
        wanted = send_for();
    }
    pthread_mutex_unlock(&mutex);
    send(&wanted);
    return room;
}

/* Waits a while for a start. One carrier is there at once; another lets others run meanwhile, but
   need not be woken. */
static void linger(bool alone)
{
    struct os_spin spin = os_spin_begin(LINGER_NS);
    while (atomic_load_explicit(&queued, memory_order_relaxed) == 0 && os_spin(&spin)) {
        if (!alone) {
            sched_yield();
        }
    }
}

/* With the mutex, which it gives up meanwhile: sleeps a while. Whether it was called. */
static bool park(void)
{
    struct parked self = {.called = 0};
    int64_t deadline = os_deadline_in(PARK_NS);
    LIST_INSERT_HEAD(&parked, &self, link);
    parked_count++;
    pthread_mutex_unlock(&mutex);
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

/* With the mutex. The next thread for the calling carrier, which counts as coming; NULL when it is
   to go. */
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
        /* Those of the reserve have their place to sleep there. */
        if (reserve_has_carrier() || !park()) {
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
    taken++;
    return work;
}

void carrier_run(void)
{
    uint64_t float_mode = os_float_mode();
    struct carrier_work *work;
    signals_enter_host();
    pthread_mutex_lock(&mutex);
    while ((work = take()) != NULL) {
        struct wanted wanted = send_for();
        pthread_mutex_unlock(&mutex);
        send(&wanted);
        work->run(work);
        pthread_mutex_lock(&mutex);
        coming++;
        taken = 0;
    }
    pthread_mutex_unlock(&mutex);
    reserve_trim();
    os_set_float_mode(float_mode);
    signals_leave_host();
}

/*
 * The Go runtime's: runs function(argument) in Go or, where function is NULL, ends what Go has on
 * an OS thread of the host's, which ends.
 */
extern void (*x_crosscall2_ptr)(void (*function)(void *), void *argument, int size, size_t context);
static void (*call_go)(void (*function)(void *), void *argument, int size, size_t context);

/* Stands in its place. In the child of a fork there is nothing to end, and nobody to wait for. */
static void end_go(void (*function)(void *), void *argument, int size, size_t context)
{
    struct signals host;
    if (reserve_has_go()) {
        signals_enter_go(&host);
        call_go(function, argument, size, context);
        signals_leave_go(&host);
    }
}

void carrier_go_began(void)
{
    call_go = x_crosscall2_ptr;
    x_crosscall2_ptr = end_go;
}

void carrier_lost(void)
{
    reserve_lost();
}

/* The child of a fork has no carrier. Only where it may enter Go does any of this matter to it:
   then none was ever sent for, and what a start in another thread had begun is undone. */
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
    reserve_after_fork();
}

__attribute__((constructor)) static void at_load(void)
{
    reserve_serve((struct reserve_client){.threads_wanted = threads_wanted, .work = carrier_run});
    fork_on_child(after_fork);
}
