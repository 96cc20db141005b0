/*
 * stack_memory_test.c - the memory of stacks: what threads have used deep in them is given back
 * when they end, and what each thread uses stays for the next one.
 */
#define _GNU_SOURCE
#include "process.h"
#include "threads.h"

enum { KIB = 1024, PAGE = 4 * KIB };

/* Writes to each page, from above, as calls do. */
static void use(volatile char *bytes, int size)
{
    for (int i = size - PAGE; i >= 0; i -= PAGE) {
        bytes[i] = 1;
    }
}

enum { THREADS = 48, DEEP = 6 * KIB * KIB };

/* The thread stays until all of its burst are here. So each has a stack of its own. */
static void use_deep_stack(void *here)
{
    volatile char bytes[DEEP];
    use(bytes, DEEP);
    count(here);
    wait_for_at_least(here, THREADS);
}

static void run_burst(void)
{
    PyThread_handle_t handles[THREADS];
    atomic_int here = 0;
    for (int i = 0; i < THREADS; i++) {
        handles[i] = start(use_deep_stack, &here);
    }
    for (int i = 0; i < THREADS; i++) {
        join(handles[i]);
    }
}

/* With pthreads, too, up to 40 MB of stacks stay: the C library keeps them for later threads. */
static void check_that_bursts_leave_little(int mode)
{
    enum { BURSTS = 3, STAYS_KIB = 40 * KIB, TRIES = 30 };
    enum { SLACK_KIB = UNDER_ASAN ? RESIDENT_SLACK_KIB : STAYS_KIB };
    pythread_set_reuse(mode);
    let_go_start();
    long before = resident_kib();
    for (int i = 0; i < BURSTS; i++) {
        run_burst();
        for (int j = 0; j < TRIES && resident_kib() > before + SLACK_KIB; j++) {
            sleep_ms(100);
        }
        LE(resident_kib(), before + SLACK_KIB);
    }
}

TEST(a_burst_of_threads_with_deep_stacks_leaves_little_memory)
{
    check_that_bursts_leave_little(PYTHREAD_REUSE_CLEAN);
}

TEST(a_burst_of_threads_with_deep_stacks_leaves_little_memory_in_the_mode_always)
{
    check_that_bursts_leave_little(PYTHREAD_REUSE_ALWAYS);
}

enum { USUAL = 128 * KIB };

static void use_usual_stack(void *faults)
{
    volatile char bytes[USUAL];
    struct rusage before, after;
    getrusage(RUSAGE_THREAD, &before);
    use(bytes, USUAL);
    getrusage(RUSAGE_THREAD, &after);
    *(long *)faults += after.ru_minflt - before.ru_minflt;
    sleep_ms(1);
}

TEST(a_thread_finds_the_stack_that_it_needs_in_memory)
{
    enum { ROUNDS = 200, PAGES = USUAL / PAGE };
    long faults = 0;
    for (int i = 0; i < ROUNDS; i++) {
        join(start(use_usual_stack, &faults));
    }
    /* The threads run on a few OS threads. */
    LT(faults, ROUNDS * PAGES / 2);
}
