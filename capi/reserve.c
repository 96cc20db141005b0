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
 * fork has a whole library. A child of a process whose runtime runs has no
 * scheduler, and never enters Go.
 */
#define _GNU_SOURCE
#include "reserve.h"
#include "thread.h"

#include "fork.h"
#include "os.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

typedef void *os_thread_func(void *);

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, os_thread_func *func,
                          void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, os_thread_func *func,
                          void *arg);

atomic_long reserve_os_threads;

/* Guards the reserve. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* What the runtime wanted to run when the library was loaded. */
static os_thread_func *runtime_func;
static void *runtime_arg;

/* The epoch in which the runtime was started; 0 before that. */
static atomic_uint runtime_epoch;

/* An OS thread in reserve. It owns its record, and frees it when it is not to be back. */
struct spare {
    struct spare *next;
    pthread_t os_thread;
    /* 0 until one of the two below is set: work of ours, from which it comes back, or Go's. */
    atomic_uint called;
    void (*work)(void);
    os_thread_func *func;
    void *arg;
};

static struct spare *spares;
static long spare_count;

/* The calling OS thread's record, while it is in work of ours. */
THREAD_LOCAL struct spare *busy;

/* How many OS threads wait in reserve at most once they have worked. */
enum { KEPT = 64 };

int reserve_create(pthread_t *os_thread, os_thread_func *func, void *arg)
{
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    int error = __real_pthread_create(os_thread, &detached, func, arg);
    pthread_attr_destroy(&detached);
    return error;
}

/*
 * Go unblocks a few signals on its OS threads, whatever their mask was before, so a handler of the
 * host's, which need not ask for a signal stack, could run on the few kilobytes of a goroutine's.
 * And a signal that the host blocks everywhere, to wait for it, could come out on one of them. One
 * of those that Go unblocks is SIGSTKFLT, which Linux never sends: it is pending on every OS thread
 * that enters Go, is delivered as soon as Go has set the mask, and blocks all signals.
 */
static _Thread_local bool enters_go;
static struct sigaction host_action;

static void block_signals(int sig, siginfo_t *info, void *context)
{
    if (enters_go) {
        enters_go = false;
        sigfillset(&((ucontext_t *)context)->uc_sigmask);
    } else if ((host_action.sa_flags & SA_SIGINFO) != 0) {
        host_action.sa_sigaction(sig, info, context);
    } else if (host_action.sa_handler == SIG_DFL) {
        sigaction(sig, &host_action, NULL);
        pthread_kill(pthread_self(), sig);
    } else if (host_action.sa_handler != SIG_IGN) {
        host_action.sa_handler(sig);
    }
}

/* Puts a record into the reserve. With the mutex. */
static void add(struct spare *spare)
{
    spare->next = spares;
    spares = spare;
    spare_count++;
}

static void *wait_in_reserve(void *arg)
{
    struct spare *spare = arg;
    os_thread_func *func = NULL;
    for (bool kept = true; kept;) {
        /* Acquire: work, func and arg are those of the release in call_spare. */
        while (atomic_load_explicit(&spare->called, memory_order_acquire) == 0) {
            os_wait(&spare->called, 0, NULL);
        }
        if ((func = spare->func) != NULL) {
            arg = spare->arg;
            break;
        }
        busy = spare;
        spare->work();
        busy = NULL;
        pthread_mutex_lock(&mutex);
        if ((kept = spare_count < KEPT)) {
            atomic_store_explicit(&spare->called, 0, memory_order_relaxed);
            add(spare);
        } else {
            atomic_fetch_sub_explicit(&reserve_os_threads, 1, memory_order_relaxed);
        }
        pthread_mutex_unlock(&mutex);
    }
    free(spare);
    if (func == NULL) {
        return NULL;
    }
    /* It waits until Go unblocks it, which is when Go sets the signal mask. */
    enters_go = true;
    pthread_kill(pthread_self(), SIGSTKFLT);
    return func(arg);
}

/* Adds an OS thread to the reserve, which the caller has locked. */
static bool add_spare(void)
{
    struct spare *spare = calloc(1, sizeof *spare);
    if (spare == NULL) {
        return false;
    }
    if (reserve_create(&spare->os_thread, wait_in_reserve, spare) != 0) {
        free(spare);
        return false;
    }
    add(spare);
    atomic_fetch_add_explicit(&reserve_os_threads, 1, memory_order_relaxed);
    return true;
}

/* Has an OS thread of the reserve run work(), or func(arg) for Go. */
static void call_spare(pthread_t *os_thread, void (*work)(void), os_thread_func *func, void *arg)
{
    const struct timespec pause = {0, 1000000};
    struct spare *spare;
    pthread_mutex_lock(&mutex);
    while ((spare = spares) == NULL && !add_spare()) {
        /* Should what is needed ever have been counted too small: Go would end the process, where
           the end of another OS thread may yet help. */
        pthread_mutex_unlock(&mutex);
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&mutex);
    }
    spare = spares;
    spares = spare->next;
    spare_count--;
    pthread_mutex_unlock(&mutex);
    *os_thread = spare->os_thread;
    spare->work = work;
    spare->func = func;
    spare->arg = arg;
    atomic_store_explicit(&spare->called, 1, memory_order_release);
    os_wake(&spare->called, 1);
}

void reserve_run(void (*work)(void))
{
    pthread_t os_thread;
    call_spare(&os_thread, work, NULL, NULL);
}

/* The Go runtime's pthread_create. Called with all signals blocked. */
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, os_thread_func *func,
                          void *arg)
{
    (void)attr; /* The defaults, with which the reserve was made too. */
    if (atomic_load_explicit(&runtime_epoch, memory_order_relaxed) == 0) {
        /* The library is being loaded: the runtime's first thread, which asks for no answer. */
        runtime_func = func;
        runtime_arg = arg;
    } else {
        call_spare(thread, NULL, func, arg);
    }
    return 0;
}

/* Whether so much address space is to be had, of which Go takes some without asking. */
static bool has_address_space(size_t size)
{
    void *space = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return space != MAP_FAILED && munmap(space, size) == 0;
}

/* Address space that the runtime maps when it starts, and at most at once when its heap grows. */
enum { START_SPACE = 1 << 30, HEAP_SPACE = 160 << 20 };

/*
 * OS threads that Go can need beside those of carriers and one for each processor: its monitor,
 * the template for new ones, and those between two states, on their way to be idle.
 */
enum { SLACK = 16 };

/* Adds to the reserve until as many OS threads exist as are needed. */
static bool add_spares(long needed)
{
    bool has = true;
    /* What OS threads for Go begin with: signals are the host's business. */
    uint64_t mask = os_set_signal_mask(OS_ALL_SIGNALS);
    pthread_mutex_lock(&mutex);
    while (has && atomic_load_explicit(&reserve_os_threads, memory_order_relaxed) < needed) {
        has = has_address_space(HEAP_SPACE) && add_spare();
    }
    pthread_mutex_unlock(&mutex);
    os_set_signal_mask(mask);
    return has;
}

/* Has the runtime run, on an OS thread of the reserve. False when there is no room for it. */
static bool start_runtime(void)
{
    struct sigaction action = {.sa_sigaction = block_signals, .sa_flags = SA_SIGINFO};
    pthread_t os_thread;
    unsigned none = 0;
    if (!has_address_space(START_SPACE)) {
        return false;
    }
    /* Said before it is so: a child forked from now on has no runtime, and will not have one. Who
       comes second goes on, and waits for the runtime on entering Go. */
    if (atomic_compare_exchange_strong_explicit(&runtime_epoch, &none, fork_epoch(),
                                                memory_order_relaxed, memory_order_relaxed)) {
        sigfillset(&action.sa_mask);
        sigaction(SIGSTKFLT, &action, &host_action);
        /* Not empty: nobody else takes from the reserve before. */
        call_spare(&os_thread, NULL, runtime_func, runtime_arg);
    }
    return true;
}

bool reserve_for(long carriers)
{
    long needed = carriers + RESERVE_PROCESSORS + SLACK;
    return (atomic_load_explicit(&reserve_os_threads, memory_order_relaxed) >= needed ||
            add_spares(needed)) &&
           (atomic_load_explicit(&runtime_epoch, memory_order_relaxed) != 0 || start_runtime());
}

bool reserve_has_go(void)
{
    unsigned epoch = atomic_load_explicit(&runtime_epoch, memory_order_relaxed);
    return epoch == 0 || epoch == fork_epoch();
}

void reserve_lost(void)
{
    free(busy);
    atomic_fetch_sub_explicit(&reserve_os_threads, 1, memory_order_relaxed);
}

/* The parent's other threads, one of which may have held the mutex, are not in the child. */
static void after_fork(void)
{
    pthread_mutex_init(&mutex, NULL);
    spares = NULL;
    spare_count = 0;
    atomic_store_explicit(&reserve_os_threads, 0, memory_order_relaxed);
}

__attribute__((constructor)) static void at_load(void)
{
    pthread_atfork(NULL, NULL, after_fork);
}
