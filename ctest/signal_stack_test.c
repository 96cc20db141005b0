/*
 * signal_stack_test.c - a handler with a large frame has room for it, whatever its thread does: it
 * runs on the stack of its thread, or on the signal stack that its thread has set.
 */
#define _GNU_SOURCE
#include "signals.h"
#include "threads.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <sys/time.h>

enum { FRAME = 48 * 1024, SIGNAL_STACK = 64 * 1024 };

/*
 * Where a handler of the calling thread may have its frame: on its signal stack, or on its own
 * stack. Volatile: the compiler does not know that handlers read these.
 */
static _Thread_local char *volatile signal_stack;
static volatile uintptr_t main_stack_low, main_stack_high;
static volatile size_t stack_size;
static _Thread_local volatile int handled_here;
static atomic_int handled, misplaced;

static bool is_within(const char *from, const char *to, uintptr_t low, uintptr_t high)
{
    return (uintptr_t)from >= low && (uintptr_t)to <= high;
}

/* The descriptor of a pthread is at the upper end of its stack. So a handler may ask before its
   thread's function has begun, too. */
static bool is_placed_well(const char *from, const char *to)
{
    if (signal_stack != NULL) {
        return is_within(from, to, (uintptr_t)signal_stack, (uintptr_t)signal_stack + SIGNAL_STACK);
    }
    uintptr_t high = (uintptr_t)pthread_self();
    return getpid() == (pid_t)syscall(SYS_gettid)
               ? is_within(from, to, main_stack_low, main_stack_high)
               : is_within(from, to, high - stack_size, high);
}

static void touch_large_frame(int sig)
{
    int saved = errno;
    volatile char frame[FRAME];
    for (size_t i = 0; i < FRAME; i++) {
        frame[i] = (char)sig;
    }
    if (!is_placed_well((const char *)frame, (const char *)frame + FRAME)) {
        count(&misplaced);
    }
    count(&handled);
    handled_here++;
    errno = saved;
}

static void find_main_stack(void)
{
    pthread_attr_t attr;
    void *low;
    size_t size;
    EQ(pthread_getattr_np(pthread_self(), &attr), 0);
    EQ(pthread_attr_getstack(&attr, &low, &size), 0);
    EQ(pthread_attr_destroy(&attr), 0);
    main_stack_low = (uintptr_t)low;
    main_stack_high = (uintptr_t)low + size;
    EQ(pthread_getattr_default_np(&attr), 0);
    EQ(pthread_attr_getstacksize(&attr, &size), 0);
    EQ(pthread_attr_destroy(&attr), 0);
    stack_size = size;
}

static void set_alarm_mask(int how)
{
    sigset_t set;
    EQ(sigemptyset(&set), 0);
    EQ(sigaddset(&set, SIGALRM), 0);
    EQ(pthread_sigmask(how, &set, NULL), 0);
}

/* The handler runs before or after the change, so that it finds the old or the new stack. */
static void change_signal_stack(char *memory)
{
    stack_t stack = {.ss_sp = memory,
                     .ss_size = memory == NULL ? 0 : SIGNAL_STACK,
                     .ss_flags = memory == NULL ? SS_DISABLE : 0};
    set_alarm_mask(SIG_BLOCK);
    EQ(sigaltstack(&stack, NULL), 0);
    signal_stack = memory;
    set_alarm_mask(SIG_UNBLOCK);
}

static atomic_bool main_waits;

/* The function of a thread. At times it waits until the handler has run on the thread. */
static void be_interrupted(void *threads_signal_stack)
{
    handled_here = 0;
    if (threads_signal_stack != NULL) {
        change_signal_stack(threads_signal_stack);
    }
    while (atomic_load(&main_waits) && handled_here == 0) {
        EQ(pthread_kill(pthread_self(), SIGALRM), 0);
    }
    if (threads_signal_stack != NULL) {
        change_signal_stack(NULL);
    }
}

/* A timer interrupts main and its threads, from before the first one on. */
static void start_while_interrupted(int flags, bool use_signal_stacks)
{
    enum { ROUNDS = 3000, PAUSE = 100 };
    static char of_main[SIGNAL_STACK], of_thread[SIGNAL_STACK];
    const struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = touch_large_frame, .sa_flags = flags};
    test_skip_under_asan("its frames are elsewhere");
    find_main_stack();
    if (use_signal_stacks) {
        change_signal_stack(of_main);
    }
    EQ(sigaction(SIGALRM, &action, NULL), 0);
    EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
    for (int i = 0; i < ROUNDS; i++) {
        use_own_os_threads(i % 10 == 1);
        atomic_store(&main_waits, i % PAUSE == 0);
        join(start(be_interrupted, use_signal_stacks ? of_thread : NULL));
        EQ(atomic_load(&misplaced), 0);
    }
    EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
    GE(atomic_load(&handled), ROUNDS / PAUSE);
    struct sigaction after;
    EQ(sigaction(SIGALRM, NULL, &after), 0);
    EQ_PTR(after.sa_handler, touch_large_frame);
    EQ(after.sa_flags & ~SA_RESTORER, flags);
    check_nothing_is_left();
}

TEST(handlers_of_large_frames_run_on_their_threads_own_stacks)
{
    start_while_interrupted(0, false);
}

TEST(handlers_of_large_frames_run_on_their_threads_own_signal_stacks)
{
    start_while_interrupted(SA_ONSTACK, true);
}

TEST(handlers_of_large_frames_that_ask_for_a_signal_stack_do_without)
{
    start_while_interrupted(SA_ONSTACK | SA_RESTART, false);
}
