/*
 * signal_storm_test.c - storms of signals, while threads start, wait and end, lose nothing, and no
 * handler runs where there is no room for it.
 */
#define _GNU_SOURCE
#include "handler_place.h"
#include "signals.h"
#include "threads.h"

#include <sys/time.h>

enum { WORKERS = 4 };
static atomic_bool calm, over;
static pthread_t targets[WORKERS + 1];
static int storm_directed, storm_undirected;

/* Sends signals to single threads and to the process, from an OS thread that handles none. */
static void *storm(void *arg)
{
    const struct timespec pause = {0, 100000};
    /* At least once, however late this thread begins. */
    do {
        for (int i = 0; i <= WORKERS; i++) {
            EQ(pthread_kill(targets[i], SIGUSR1), 0);
            storm_directed++;
        }
        kill(getpid(), SIGUSR2);
        kill(getpid(), SIGCHLD);
        storm_undirected++;
        nanosleep(&pause, NULL);
    } while (!atomic_load(&calm));
    return arg;
}

static PyThread_type_lock lock;
static long long locked;
static atomic_int in_place, finished;

enum { ROUNDS = 100000 };

/* Counts under a lock, and starts and joins a thread at times. */
static void work(void *target)
{
    atomic_int ran = 0;
    int started = 0;
    *(pthread_t *)target = pthread_self();
    set_signal_stack();
    count(&in_place);
    /* All begin together, because a thread that comes late would miss the storm. */
    wait_for_at_least(&in_place, WORKERS);
    for (int i = 0; i < ROUNDS; i++) {
        int status = i % 3 == 0   ? PyThread_acquire_lock(lock, WAIT_LOCK)
                     : i % 3 == 1 ? (int)PyThread_acquire_lock_timed(lock, -1, 0)
                                  : (int)PyThread_acquire_lock_timed(lock, 60000000, 0);
        EQ(status, PY_LOCK_ACQUIRED);
        locked++;
        PyThread_release_lock(lock);
        if (i % 100 == 0) {
            join(start(count, &ran));
            started++;
        }
    }
    EQ(atomic_load(&ran), started);
    /* The thread is a target until the storm is over. */
    count(&finished);
    while (!atomic_load(&over)) {
        sleep_ms(1);
    }
    clear_signal_stack();
}

static void weather_storm(int flags)
{
    const int sigs[] = {SIGUSR1, SIGUSR2, SIGCHLD, SIGALRM, SIGPROF};
    const struct itimerval often = {{0, 100}, {0, 100}}, prof = {{0, 1000}, {0, 1000}},
                           never = {{0, 0}, {0, 0}};
    PyThread_handle_t workers[WORKERS];
    pthread_t pthread;
    sigset_t all, mask;
    find_stacks();
    lock = PyThread_allocate_lock();
    for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++) {
        set_handler(sigs[i], check_place, flags);
    }
    EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
    EQ(setitimer(ITIMER_PROF, &prof, NULL), 0);
    targets[WORKERS] = pthread_self();
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = start(work, &targets[i]);
    }
    wait_for_at_least(&in_place, WORKERS);
    sigfillset(&all);
    EQ(pthread_sigmask(SIG_SETMASK, &all, &mask), 0);
    EQ(pthread_create(&pthread, NULL, storm, NULL), 0);
    EQ(pthread_sigmask(SIG_SETMASK, &mask, NULL), 0);
    wait_for_at_least(&finished, WORKERS);
    atomic_store(&calm, true);
    EQ(pthread_join(pthread, NULL), 0);
    atomic_store(&over, true);
    EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
    EQ(setitimer(ITIMER_PROF, &never, NULL), 0);
    for (int i = 0; i < WORKERS; i++) {
        join(workers[i]);
    }
    EQ(locked, (long long)WORKERS * ROUNDS);
    EQ(atomic_load(&misplaced), 0);
    EQ(atomic_load(&strays), 0);
    /* A signal that is pending is not queued again, so there may be fewer than were sent. */
    for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++) {
        GT(atomic_load(&handled[sigs[i]]), 0);
    }
    LE(atomic_load(&handled[SIGUSR1]), storm_directed);
    LE(atomic_load(&handled[SIGUSR2]), storm_undirected);
    run_all_kinds(3);
    PyThread_free_lock(lock);
}

TEST(a_storm_of_signals_loses_nothing)
{
    weather_storm(0);
}

TEST(a_storm_of_signals_with_restart_loses_nothing)
{
    weather_storm(SA_RESTART);
}

TEST(a_storm_of_signals_on_signal_stacks_loses_nothing)
{
    weather_storm(SA_ONSTACK);
}

TEST(a_storm_of_signals_on_signal_stacks_with_restart_loses_nothing)
{
    weather_storm(SA_ONSTACK | SA_RESTART);
}

/* The OS thread under fire, while it starts threads. */
static pthread_mutex_t starter_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_t starter;
static bool starts;
static atomic_int sent;
enum { FIRE = 5 };
static int fire[FIRE];

/* Realtime signals are queued, and all processes of a user share the queue. A thread that does not
   run would fill it for all of them. So only a few signals are on their way at a time. */
enum { REALTIME = 100 };
static int realtime_sent;

static void *storm_starter(void *arg)
{
    while (!atomic_load(&calm)) {
        pthread_mutex_lock(&starter_mutex);
        for (int i = 0; starts && i < FIRE; i++) {
            bool is_realtime = fire[i] >= SIGRTMIN;
            if (is_realtime && realtime_sent - atomic_load(&handled[fire[i]]) >= REALTIME) {
                continue;
            }
            int error = pthread_kill(starter, fire[i]);
            if (error != 0) {
                /* Other processes have filled the queue. */
                EQ(error, EAGAIN);
                break;
            }
            realtime_sent += is_realtime;
            count(&sent);
        }
        pthread_mutex_unlock(&starter_mutex);
        sched_yield();
    }
    return arg;
}

static void set_starts(bool now)
{
    pthread_mutex_lock(&starter_mutex);
    starter = pthread_self();
    starts = now;
    /* Signals on their way to the thread before may have ended with that thread. */
    realtime_sent = atomic_load(&handled[SIGRTMIN]);
    pthread_mutex_unlock(&starter_mutex);
}

static void *start_first(void *with_stack)
{
    is_programs = true;
    if (with_stack != NULL) {
        set_signal_stack();
    }
    int before = atomic_load(&sent);
    set_starts(true);
    while (atomic_load(&sent) == before) {
        sched_yield();
    }
    join(start(nothing, NULL));
    join(start(nothing, NULL));
    set_starts(false);
    if (with_stack != NULL) {
        clear_signal_stack();
    }
    return with_stack;
}

/* Makes a pthread that handles no signal. */
static pthread_t create_deaf(void *(*func)(void *))
{
    pthread_t pthread;
    sigset_t all, mask;
    sigfillset(&all);
    EQ(pthread_sigmask(SIG_SETMASK, &all, &mask), 0);
    EQ(pthread_create(&pthread, NULL, func, NULL), 0);
    EQ(pthread_sigmask(SIG_SETMASK, &mask, NULL), 0);
    return pthread;
}

/* At the first start on an OS thread, Go calls it for the first time. */
static void storm_first_starts(int flags, void *with_stack)
{
    pthread_t pthread;
    find_stacks();
    memcpy(fire, (int[]){SIGPROF, SIGCHLD, SIGRTMIN, SIGSEGV, SIGUSR1}, sizeof fire);
    for (int i = 0; i < FIRE; i++) {
        set_handler(fire[i], check_place, flags);
    }
    pthread_t stormer = create_deaf(storm_starter);
    for (int i = 0; i < 150; i++) {
        EQ(pthread_create(&pthread, NULL, start_first, with_stack), 0);
        EQ(pthread_join(pthread, NULL), 0);
    }
    atomic_store(&calm, true);
    EQ(pthread_join(stormer, NULL), 0);
    EQ(atomic_load(&misplaced), 0);
    EQ(atomic_load(&strays), 0);
}

TEST(a_storm_during_an_os_threads_first_start_finds_a_stack)
{
    storm_first_starts(0, NULL);
}

TEST(a_storm_during_an_os_threads_first_start_finds_the_programs_signal_stack)
{
    storm_first_starts(SA_ONSTACK, &lock);
}
