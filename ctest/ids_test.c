/*
 * ids_test.c - setuid and setgid change the ids of all threads, while threads start. The C library
 * asks every OS thread to change its ids, by a signal, and waits until all have.
 */
#define _GNU_SOURCE
#include "handler_place.h"
#include "process.h"
#include "starters.h"
#include "threads.h"

#include <pthread.h>
#include <sys/mman.h>

static gid_t group;
static atomic_int looks, wrong_ids;

/* A thread's own ids: the C library has to reach every thread to change them. */
static void watch_ids(void *arg)
{
    (void)arg;
    count(&inside);
    while (!atomic_load(&leave)) {
        if (syscall(SYS_getgid) != group) {
            count(&wrong_ids);
        }
        count(&looks);
        sleep_ms(1);
    }
}

/* What the kernel takes for a struct sigaction. */
struct kernel_action {
    void (*handler)(int, siginfo_t *, void *);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

static struct kernel_action of_c_library;
static atomic_int asked;

/* In Go code there is room on Go's signal stack only. */
static void check_and_change_ids(int sig, siginfo_t *info, void *context)
{
    char here;
    stack_t stack;
    count(&asked);
    sigaltstack(NULL, &stack);
    if ((stack.ss_flags & SS_ONSTACK) == 0 && !on_own_stack(&here)) {
        count(&misplaced);
    }
    of_c_library.handler(sig, info, context);
}

/* Puts the above before the handler that the C library has for this, and which it hides. */
static void watch_internal_signal(void)
{
    enum { SIGSETXID = 33 };
    join(start(nothing, NULL));
    EQ(setegid(0), 0);
    EQ(syscall(SYS_rt_sigaction, SIGSETXID, NULL, &of_c_library, sizeof(uint64_t)), 0);
    struct kernel_action action = of_c_library;
    action.handler = check_and_change_ids;
    EQ(syscall(SYS_rt_sigaction, SIGSETXID, &action, NULL, sizeof(uint64_t)), 0);
}

TEST(ids_change_in_all_threads)
{
    enum { WATCHERS = 8 };
    PyThread_handle_t watchers[WATCHERS];
    if (getuid() != 0) {
        test_skip("only root may change its ids");
    }
    find_stacks();
    watch_internal_signal();
    begin_starters();
    for (gid_t other = 1; other < 300; other++) {
        EQ(setegid(other), 0);
        EQ(getegid(), other);
    }
    EQ(setegid(0), 0);
    group = 12345;
    EQ(setgid(group), 0);
    for (int i = 0; i < WATCHERS; i++) {
        watchers[i] = start(watch_ids, NULL);
    }
    wait_for_count(&inside, WATCHERS);
    EQ(setuid(12345), 0);
    EQ(getuid(), 12345);
    NE(setuid(0), 0);
    wait_for_at_least(&looks, 10 * WATCHERS);
    atomic_store(&leave, true);
    for (int i = 0; i < WATCHERS; i++) {
        join(watchers[i]);
    }
    EQ(atomic_load(&wrong_ids), 0);
    end_starters();
    run_all_kinds(5);
    GT(atomic_load(&asked), 300);
    EQ(atomic_load(&misplaced), 0);
}

enum { LEFT_STACK = 64 * 1024 };

static void leave_signal_stack(void *memory)
{
    const stack_t stack = {.ss_sp = memory, .ss_size = LEFT_STACK};
    EQ(sigaltstack(&stack, NULL), 0);
    stay(NULL);
}

/* The handler of the C library runs on the signal stack of each OS thread: one that has gone would
   end the process. */
TEST(ids_change_when_the_signal_stacks_of_ended_threads_have_gone)
{
    enum { THREADS = 8 };
    PyThread_handle_t threads[THREADS];
    char *memory = mmap(NULL, THREADS * LEFT_STACK, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NE((intptr_t)memory, (intptr_t)MAP_FAILED);
    pythread_set_reuse(PYTHREAD_REUSE_ALWAYS);
    for (int i = 0; i < THREADS; i++) {
        threads[i] = start(leave_signal_stack, memory + i * LEFT_STACK);
    }
    wait_for_count(&inside, THREADS);
    atomic_store(&leave, true);
    for (int i = 0; i < THREADS; i++) {
        join(threads[i]);
    }
    EQ(munmap(memory, THREADS * LEFT_STACK), 0);
    EQ(setegid(getegid()), 0);
    run_all_kinds(3);
}

static pthread_barrier_t barrier;

static void *change_no_ids(void *arg)
{
    enum { CHANGES = 100 };
    uid_t none = (uid_t)-1;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < CHANGES; i++) {
        EQ(setresgid(none, none, none), 0);
        EQ(setresuid(none, none, none), 0);
        EQ(setegid(getegid()), 0);
        EQ(seteuid(geteuid()), 0);
    }
    return arg;
}

static void change_ids_while_threads_start(long unused)
{
    pthread_t changer;
    (void)unused;
    EQ(pthread_barrier_init(&barrier, NULL, 2), 0);
    EQ(pthread_create(&changer, NULL, change_no_ids, NULL), 0);
    pthread_barrier_wait(&barrier);
    begin_starters();
    EQ(pthread_join(changer, NULL), 0);
    end_starters();
}

TEST(ids_change_while_the_first_thread_and_many_more_start)
{
    for (int i = 0; i < 5; i++) {
        run_in_process(change_ids_while_threads_start, i);
    }
}
