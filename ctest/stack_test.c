/*
 * stack_test.c - calls from a stack of the program's own making, as coroutines have: on every OS
 * thread each function works there.
 */
#define _GNU_SOURCE
#include "ends.h"
#include "pthreads.h"
#include "threads.h"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

/* A build with AddressSanitizer calls this. LeakSanitizer reads all stacks to their ends, and would
   touch the page below. */
const char *__lsan_default_options(void);
const char *__lsan_default_options(void)
{
    return "detect_leaks=0";
}

/* A coroutine. There is one at a time, and its stack ends at a page that may not be touched. */
struct coroutine {
    ucontext_t own, back;
    void (*func)(struct coroutine *);
    enum end how;
    int rounds;
};

enum { PAGE = 4096, STACK = 16 * 1024 };

static void begin(unsigned upper, unsigned lower)
{
    struct coroutine *coroutine = (void *)((uintptr_t)upper << 32 | lower);
    coroutine->func(coroutine);
    abort();
}

/* This memory is below all stacks of threads. If Go ran here, it would find its stack used up. */
static _Alignas(PAGE) char memory[PAGE + STACK];

static void create(struct coroutine *coroutine, void (*func)(struct coroutine *))
{
    uintptr_t address = (uintptr_t)coroutine;
    coroutine->func = func;
    EQ(mprotect(memory, PAGE, PROT_NONE), 0);
    EQ(getcontext(&coroutine->own), 0);
    coroutine->own.uc_stack.ss_sp = memory + PAGE;
    coroutine->own.uc_stack.ss_size = STACK;
    coroutine->own.uc_link = NULL;
    makecontext(&coroutine->own, (void (*)(void))begin, 2, (unsigned)(address >> 32),
                (unsigned)address);
}

static void resume(struct coroutine *coroutine)
{
    EQ(swapcontext(&coroutine->back, &coroutine->own), 0);
}

static void yield(struct coroutine *coroutine)
{
    EQ(swapcontext(&coroutine->own, &coroutine->back), 0);
}

static void use_every_function(void)
{
    PyThread_ident_t self = PyThread_get_thread_ident_ex(), ident;
    PyThread_handle_t handle;
    pythread_stats stats;
    atomic_int ran = 0;
    PyThread_init_thread();
    use_lock_and_key();
    EQ(PyThread_start_joinable_thread(count, &ran, &ident, &handle), 0);
    NE(ident, self);
    EQ(PyThread_join_thread(handle), 0);
    EQ(atomic_load(&ran), 1);
    EQ(PyThread_join_thread(handle), EINVAL);
    EQ(PyThread_start_joinable_thread(count, &ran, &ident, &handle), 0);
    EQ(PyThread_detach_thread(handle), 0);
    NE(PyThread_start_new_thread(count, &ran), PYTHREAD_INVALID_THREAD_ID);
    wait_for_count(&ran, 3);
    EQ(PyThread_get_stacksize(), 0);
    EQ(PyThread_set_stacksize(1 << 20), -2);
    EQ(pythread_set_name("coroutine"), 0);
    pythread_get_stats(&stats, sizeof stats);
    GE(stats.os_threads, 1);
    EQ(PyThread_get_thread_ident_ex(), self);
}

static void use_and_yield(struct coroutine *coroutine)
{
    for (;;) {
        use_every_function();
        coroutine->rounds++;
        yield(coroutine);
    }
}

enum { ROUNDS = 5 };

/* Calls come from the OS thread's own stack and from the coroutine's in turn. */
static void run_coroutine(void *unused)
{
    struct coroutine coroutine = {.rounds = 0};
    (void)unused;
    create(&coroutine, use_and_yield);
    resume(&coroutine);
    for (int i = 0; i < ROUNDS; i++) {
        use_every_function();
        resume(&coroutine);
    }
    EQ(coroutine.rounds, ROUNDS + 1);
}

static void *run_coroutine_in_pthread(void *unused)
{
    run_coroutine(unused);
    return NULL;
}

TEST(main_may_call_from_a_coroutine)
{
    run_coroutine(NULL);
}

TEST(a_pthread_may_call_from_a_coroutine)
{
    run_thread(run_coroutine_in_pthread, NULL);
}

TEST(a_thread_may_call_from_a_coroutine)
{
    for (int i = 0; i < ROUNDS; i++) {
        join(start(run_coroutine, NULL));
    }
}

TEST(a_thread_may_call_from_a_coroutine_in_every_mode_of_reuse)
{
    for (int mode = PYTHREAD_REUSE_NEVER; mode <= PYTHREAD_REUSE_ALWAYS; mode++) {
        pythread_set_reuse(mode);
        join(start(run_coroutine, NULL));
    }
}

static void resume_once(void *coroutine)
{
    resume(coroutine);
}

static void *resume_in_pthread(void *coroutine)
{
    resume(coroutine);
    return NULL;
}

TEST(a_coroutine_may_move_between_threads)
{
    struct coroutine coroutine = {.rounds = 0};
    create(&coroutine, use_and_yield);
    for (int i = 0; i < ROUNDS; i++) {
        resume(&coroutine);
        join(start(resume_once, &coroutine));
        run_thread(resume_in_pthread, &coroutine);
    }
    EQ(coroutine.rounds, 3 * ROUNDS);
}

/* The thread waits for itself, although another OS thread makes the call. */
static void join_self(struct coroutine *coroutine)
{
    coroutine->rounds = PyThread_join_thread(PyThread_get_thread_ident_ex());
    yield(coroutine);
}

static void join_self_in_coroutine(void *unused)
{
    struct coroutine coroutine = {.rounds = 0};
    (void)unused;
    create(&coroutine, join_self);
    resume(&coroutine);
    EQ(coroutine.rounds, EDEADLK);
}

TEST(a_thread_that_joins_itself_in_a_coroutine_is_told_so)
{
    join(start(join_self_in_coroutine, NULL));
}

static void look_at_mask(void *mask)
{
    EQ(pthread_sigmask(SIG_BLOCK, NULL, mask), 0);
}

static void block_and_start(struct coroutine *coroutine)
{
    sigset_t mask, threads_mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    EQ(pthread_sigmask(SIG_SETMASK, &mask, NULL), 0);
    join(start(look_at_mask, &threads_mask));
    EQ(sigismember(&threads_mask, SIGUSR1), 1);
    EQ(sigismember(&threads_mask, SIGUSR2), 0);
    yield(coroutine);
}

static void start_in_coroutine(void *unused)
{
    struct coroutine coroutine;
    (void)unused;
    create(&coroutine, block_and_start);
    resume(&coroutine);
}

TEST(a_thread_that_starts_in_a_coroutine_has_its_creators_mask)
{
    join(start(start_in_coroutine, NULL));
}

static atomic_int cleaned_up;

static void end_in_coroutine(struct coroutine *coroutine)
{
    end(coroutine->how);
    yield(coroutine);
}

static void run_and_end(void *arg)
{
    struct coroutine *coroutine = arg;
    create(coroutine, end_in_coroutine);
    pthread_cleanup_push(count, &cleaned_up);
    resume(coroutine);
    pthread_cleanup_pop(1);
}

TEST(a_thread_may_exit_in_a_coroutine)
{
    for (int i = 1; i <= 3 * ENDS; i++) {
        struct coroutine coroutine = {.how = i % ENDS};
        join(start(run_and_end, &coroutine));
        EQ(atomic_load(&cleaned_up), i);
    }
    check_nothing_is_left();
}
