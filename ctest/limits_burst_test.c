/*
 * limits_burst_test.c - bursts of starts at a limit of processes: a start fails, or its thread
 * runs, whatever the others wait for, and no thread is lost.
 */
#define _GNU_SOURCE
#include "ends.h"
#include "limits.h"

#include <limits.h>
#include <linux/futex.h>

enum { STARTERS = 6, BURST = 2000, TRIES = 100, ROUNDS = 100 };

/* Threads live for a generation: all of them end when the next one begins. */
static atomic_uint generation;
static atomic_long started;
static atomic_int stopped;

static void live(void *seen)
{
    unsigned now = (unsigned)(uintptr_t)seen;
    while (atomic_load(&generation) == now) {
        syscall(SYS_futex, &generation, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
    }
}

static void next_generation(void)
{
    atomic_fetch_add(&generation, 1);
    syscall(SYS_futex, &generation, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

struct starts {
    int count;
    PyThread_handle_t handles[BURST];
};

static void join_all(struct starts *starts)
{
    for (int i = 0; i < starts->count; i++) {
        join(starts->handles[i]);
    }
    starts->count = 0;
}

/* Starts threads over and over while those of the generation before end. */
static void start_on(void *arg)
{
    struct starts *now = arg, *before = now + 1;
    while (atomic_load(&stopped) == 0) {
        unsigned seen = atomic_load(&generation);
        for (int tries = 0; atomic_load(&generation) == seen && atomic_load(&stopped) == 0;
             tries++) {
            PyThread_ident_t ident;
            if (now->count < BURST &&
                PyThread_start_joinable_thread(live, (void *)(uintptr_t)seen, &ident,
                                               &now->handles[now->count]) == 0) {
                now->count++;
                atomic_fetch_add(&started, 1);
            } else {
                sched_yield();
            }
            if (tries == TRIES) {
                join_all(before);
            }
        }
        join_all(before);
        struct starts *swap = now;
        now = before;
        before = swap;
    }
    join_all(before);
    join_all(now);
}

/* Once the limit is set. */
static sem_t begin;

static void *start_on_from_pthread(void *arg)
{
    wait_at_door(&begin);
    start_on(arg);
    return NULL;
}

static void check_burst(long processes)
{
    static struct starts starts[STARTERS][2];
    PyThread_ident_t ident;
    pthread_t pthreads[STARTERS / 2];
    become_a_user_without_processes();
    EQ(sem_init(&begin, 0, 0), 0);
    for (int i = 0; i < STARTERS / 2; i++) {
        EQ(pthread_create(&pthreads[i], NULL, start_on_from_pthread, starts[2 * i]), 0);
    }
    set_soft_limit(RLIMIT_NPROC, (rlim_t)processes);
    for (int i = 0; i < STARTERS / 2; i++) {
        EQ(sem_post(&begin), 0);
    }
    for (int i = 0; i < STARTERS / 2; i++) {
        int result = -1;
        for (int tries = 0; tries < 20000 && result != 0; tries++) {
            result =
                PyThread_start_joinable_thread(start_on, starts[2 * i + 1], &ident, &handles[i]);
            next_generation();
            sleep_ms(1);
        }
        EQ(result, 0);
    }
    for (int round = 0; round < ROUNDS; round++) {
        long before = atomic_load(&started);
        next_generation();
        for (int i = 0; i < 20000 && atomic_load(&started) == before; i++) {
            sleep_ms(1);
        }
        GT(atomic_load(&started), before);
        sleep_ms(round % 16);
    }
    atomic_store(&stopped, 1);
    for (int i = 0; i < STARTERS; i++) {
        next_generation();
        sleep_ms(10);
    }
    for (int i = 0; i < STARTERS / 2; i++) {
        EQ(pthread_join(pthreads[i], NULL), 0);
        join(handles[i]);
    }
    check_nothing_is_left();
}

TEST(bursts_at_the_limit_of_processes_neither_hang_nor_lose_a_thread)
{
    const long limits[] = {60, 100, 300, 1000};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        run_in_process(check_burst, limits[i]);
    }
}

TEST(bursts_at_a_limit_of_few_processes_neither_hang_nor_lose_a_thread)
{
    run_in_process(check_burst, 30);
    run_in_process(check_burst, 45);
}

/* Threads of a burst leave when all are there that were started. So a start that succeeds must lead
   to a thread that runs, whatever the others wait for. */
enum { REFUSALS = 20 };
static atomic_int accepted, arrived, left;
static sem_t burst_gate, burst_ends;
static pthread_key_t left_key;

/* The last two bits of the habit say how the thread ends, and the bit before whether it leaves
   something behind. */
static void wait_for_burst(void *habit)
{
    count(&arrived);
    wait_at_door(&burst_gate);
    if (((uintptr_t)habit & 4) != 0) {
        EQ(pthread_setspecific(left_key, &burst_gate), 0);
    }
    count(&left);
    end((enum end)((uintptr_t)habit % ENDS));
}

/* Starts threads, joinable and detached, until starts have failed some times. */
static void *start_burst(void *arg)
{
    struct starts *starts = arg;
    for (;;) {
        int failed = 0;
        wait_at_door(&begin);
        if (atomic_load(&stopped) != 0) {
            return NULL;
        }
        for (uintptr_t i = 0; failed < REFUSALS; i++) {
            PyThread_ident_t ident;
            void *habit = (void *)(i / 2);
            if (i % 2 == 0 ? PyThread_start_joinable_thread(wait_for_burst, habit, &ident,
                                                            &starts->handles[starts->count]) == 0
                           : PyThread_start_new_thread(wait_for_burst, habit) !=
                                 PYTHREAD_INVALID_THREAD_ID) {
                starts->count += i % 2 == 0;
                count(&accepted);
            } else {
                failed++;
            }
        }
        EQ(sem_post(&burst_ends), 0);
    }
}

static void check_whole_burst(long processes, int reuse)
{
    static struct starts starts[STARTERS];
    pthread_t pthreads[STARTERS];
    pythread_set_reuse(reuse);
    become_a_user_without_processes();
    EQ(pthread_key_create(&left_key, nothing), 0);
    EQ(sem_init(&begin, 0, 0), 0);
    EQ(sem_init(&burst_gate, 0, 0), 0);
    EQ(sem_init(&burst_ends, 0, 0), 0);
    for (int i = 0; i < STARTERS; i++) {
        EQ(pthread_create(&pthreads[i], NULL, start_burst, &starts[i]), 0);
    }
    set_soft_limit(RLIMIT_NPROC, (rlim_t)processes);
    for (int round = 0; round < 4; round++) {
        atomic_store(&accepted, 0);
        atomic_store(&arrived, 0);
        atomic_store(&left, 0);
        for (int i = 0; i < STARTERS; i++) {
            EQ(sem_post(&begin), 0);
        }
        for (int i = 0; i < STARTERS; i++) {
            wait_at_door(&burst_ends);
        }
        GE(atomic_load(&accepted), 1);
        LT(atomic_load(&accepted), processes);
        wait_for_count(&arrived, atomic_load(&accepted));
        for (int i = 0; i < atomic_load(&accepted); i++) {
            EQ(sem_post(&burst_gate), 0);
        }
        for (int i = 0; i < STARTERS; i++) {
            join_all(&starts[i]);
        }
        check_nothing_is_left();
        EQ(atomic_load(&left), atomic_load(&accepted));
    }
    atomic_store(&stopped, 1);
    for (int i = 0; i < STARTERS; i++) {
        EQ(sem_post(&begin), 0);
    }
    for (int i = 0; i < STARTERS; i++) {
        EQ(pthread_join(pthreads[i], NULL), 0);
    }
}

static void check_whole_burst_on_clean(long processes)
{
    check_whole_burst(processes, PYTHREAD_REUSE_CLEAN);
}

static void check_whole_burst_on_own(long processes)
{
    check_whole_burst(processes, PYTHREAD_REUSE_NEVER);
}

static void check_whole_burst_on_used(long processes)
{
    check_whole_burst(processes, PYTHREAD_REUSE_ALWAYS);
}

TEST(all_threads_of_a_burst_at_the_limit_of_processes_run_at_once_or_fail_to_start)
{
    const long limits[] = {50, 60, 100, 300};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        run_in_process(check_whole_burst_on_clean, limits[i]);
    }
}

TEST(all_threads_of_a_burst_run_at_once_or_fail_to_start_on_own_os_threads)
{
    const long limits[] = {50, 300};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        run_in_process(check_whole_burst_on_own, limits[i]);
    }
}

TEST(all_threads_of_a_burst_run_at_once_or_fail_to_start_on_used_os_threads)
{
    const long limits[] = {50, 300};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        run_in_process(check_whole_burst_on_used, limits[i]);
    }
}

/* Starts threads until a start fails, and checks that all run at once. The last bits of the habit
   are those of wait_for_burst. */
static void fill(uintptr_t habit, long processes)
{
    static PyThread_handle_t handles[1000];
    PyThread_ident_t ident;
    int count = 0;
    atomic_store(&arrived, 0);
    while (PyThread_start_joinable_thread(wait_for_burst, (void *)habit, &ident, &handles[count]) ==
           0) {
        count++;
        LT(count, processes);
    }
    GE(count, 1);
    wait_for_count(&arrived, count);
    for (int i = 0; i < count; i++) {
        EQ(sem_post(&burst_gate), 0);
    }
    for (int i = 0; i < count; i++) {
        join(handles[i]);
    }
}

/* No OS thread is fit for the next threads then, and there can be no other until one ends. */
static void change_from_always_to_clean(long processes)
{
    enum { LEAVES_A_KEY = 4 };
    become_a_user_without_processes();
    EQ(pthread_key_create(&left_key, nothing), 0);
    EQ(sem_init(&burst_gate, 0, 0), 0);
    set_soft_limit(RLIMIT_NPROC, (rlim_t)processes);
    for (int i = 0; i < 3; i++) {
        pythread_set_reuse(PYTHREAD_REUSE_ALWAYS);
        fill(LEAVES_A_KEY, processes);
        pythread_set_reuse(PYTHREAD_REUSE_CLEAN);
        fill(0, processes);
    }
    check_nothing_is_left();
}

TEST(at_the_limit_threads_start_after_a_change_from_always_to_clean)
{
    const long limits[] = {50, 60, 100, 300};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        run_in_process(change_from_always_to_clean, limits[i]);
    }
}
