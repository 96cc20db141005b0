/*
 * scheduling_test.c - a thread begins with the processors and the nice value of its creator, also
 * where a pthread with other ones started the first thread.
 */
#define _GNU_SOURCE
#include "pthreads.h"
#include "threads.h"

#include <sys/resource.h>
#include <sys/syscall.h>

enum { BATCH = 50 };

static sem_t door;
static cpu_set_t mains_processors;
static atomic_int elsewhere, of_other_nice_value;

static int nice_value(void)
{
    return getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
}

static void bind_to(const cpu_set_t *processors)
{
    EQ(sched_setaffinity(0, sizeof *processors, processors), 0);
}

static void look_at_processors(void *unused)
{
    (void)unused;
    cpu_set_t now;
    EQ(sched_getaffinity(0, sizeof now, &now), 0);
    if (!CPU_EQUAL(&now, &mains_processors)) {
        count(&elsewhere);
    }
}

static void look_at_scheduling(void *mains_nice_value)
{
    look_at_processors(NULL);
    if (nice_value() != *(int *)mains_nice_value) {
        count(&of_other_nice_value);
    }
    count(&inside);
    wait_at_door(&door);
}

static void check_scheduling_of_threads(void)
{
    int own = nice_value();
    for (int round = 0; round < 3; round++) {
        PyThread_handle_t handles[BATCH];
        atomic_store(&inside, 0);
        for (int i = 0; i < BATCH; i++) {
            use_own_os_threads(i % 4 == 3);
            handles[i] = start(look_at_scheduling, &own);
        }
        wait_for_count(&inside, BATCH);
        for (int i = 0; i < BATCH; i++) {
            EQ(sem_post(&door), 0);
        }
        for (int i = 0; i < BATCH; i++) {
            join(handles[i]);
        }
    }
    EQ(atomic_load(&elsewhere), 0);
    EQ(atomic_load(&of_other_nice_value), 0);
}

static void *start_first_on_one_processor(void *arg)
{
    cpu_set_t one;
    int processor = 0;
    while (!CPU_ISSET(processor, &mains_processors)) {
        processor++;
    }
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    bind_to(&one);
    join(start(nothing, NULL));
    join(start(nothing, NULL));
    return arg;
}

static void *start_first_nicely(void *arg)
{
    EQ(setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), nice_value() + 5), 0);
    join(start(nothing, NULL));
    join(start(nothing, NULL));
    return arg;
}

static void check_scheduling_after(void *(*start_first)(void *))
{
    EQ(sem_init(&door, 0, 0), 0);
    EQ(sched_getaffinity(0, sizeof mains_processors, &mains_processors), 0);
    run_thread(start_first, NULL);
    check_scheduling_of_threads();
}

TEST(threads_of_main_have_mains_processors_when_a_pinned_pthread_started_the_first)
{
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
        test_skip("the system has one processor");
    }
    check_scheduling_after(start_first_on_one_processor);
}

TEST(threads_of_main_have_mains_nice_value_when_a_nicer_pthread_started_the_first)
{
    check_scheduling_after(start_first_nicely);
}

TEST(threads_of_main_have_mains_nice_value_also_where_none_may_lower_its_own)
{
    const struct rlimit none = {0, 0};
    if (geteuid() == 0) {
        EQ(setresuid(65534, 65534, 65534), 0);
    }
    EQ(setrlimit(RLIMIT_NICE, &none), 0);
    check_scheduling_after(start_first_nicely);
}

/* Ends on main's processor, which is the only one in `processor`. */
static void go_to_main(void *processor)
{
    look_at_processors(NULL);
    bind_to(processor);
    bind_to(&mains_processors);
}

/* A start makes the OS thread leave the creator's processor if both threads would spin there. */
TEST(a_thread_that_a_start_has_moved_may_run_on_all_processors_again)
{
    cpu_set_t one;
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
        test_skip("the system has one processor");
    }
    EQ(sched_getaffinity(0, sizeof mains_processors, &mains_processors), 0);
    pythread_set_reuse(PYTHREAD_REUSE_ALWAYS);
    join(start(nothing, NULL));
    join(start(nothing, NULL)); /* the library has counted main's processors by now */
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    bind_to(&one);
    for (int i = 0; i < 500; i++) {
        join(start(go_to_main, &one));
    }
    EQ(atomic_load(&elsewhere), 0);
}

/* The library believes that all OS threads are on one processor. */
static atomic_bool all_seem_together;

int sched_getcpu(void)
{
    unsigned processor = 0;
    syscall(SYS_getcpu, &processor, NULL, NULL);
    return atomic_load(&all_seem_together) ? 0 : (int)processor;
}

static void go_to_the_second_processor(void *arg)
{
    (void)arg;
    cpu_set_t second;
    CPU_ZERO(&second);
    CPU_SET(1, &second);
    bind_to(&second);
}

TEST(a_thread_that_leaves_an_unfit_os_thread_does_not_take_its_processors_along)
{
    EQ(sched_getaffinity(0, sizeof mains_processors, &mains_processors), 0);
    if (!CPU_ISSET(0, &mains_processors) || !CPU_ISSET(1, &mains_processors)) {
        test_skip("the test may not run on the first two processors");
    }
    if (pythread_set_reuse(PYTHREAD_REUSE_CLEAN) == -1) {
        test_skip("no mode CLEAN");
    }
    atomic_store(&all_seem_together, true);
    for (int i = 0; i < 100; i++) {
        pythread_set_reuse(PYTHREAD_REUSE_ALWAYS);
        for (int j = 0; j < 5; j++) {
            join(start(nothing, NULL));
        }
        join(start(go_to_the_second_processor, NULL));
        pythread_set_reuse(PYTHREAD_REUSE_CLEAN);
        join(start(look_at_processors, NULL));
    }
    EQ(atomic_load(&elsewhere), 0);
}

/* ------------------------------------------------------------------------ real-time priority */

static void look_at_policy(void *policy)
{
    *(int *)policy = sched_getscheduler(0);
}

TEST(a_real_time_thread_starts_the_first_thread_and_others_with_its_priority)
{
    const struct sched_param lowest = {.sched_priority = sched_get_priority_min(SCHED_FIFO)};
    if (sched_setscheduler(0, SCHED_FIFO, &lowest) != 0) {
        test_skip("no right to real-time priority");
    }
    for (int mode = PYTHREAD_REUSE_CLEAN; mode <= PYTHREAD_REUSE_NEVER; mode++) {
        int policy = -1;
        pythread_set_reuse(mode);
        join(start(look_at_policy, &policy));
        EQ(policy, SCHED_FIFO);
    }
    run_all_kinds(20);
    EQ(sched_getscheduler(0), SCHED_FIFO);
}
