/*
 * os_linux.c - the part of os.h that Linux does in its own way: futexes on private memory, masks of
 * 64 signals, gettid, prctl.
 */
#define _GNU_SOURCE
#include "os.h"

#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef OS_PORTABLE

/* The kernel's own time: the C library's time_t may have 32 bits. */
struct kernel_time {
    int64_t seconds, nanoseconds;
};

static long futex(atomic_uint *word, int operation, unsigned value,
                  const struct kernel_time *deadline)
{
#ifdef SYS_futex_time64 /* On 32-bit processors, where the older call has a time of 32 bits. */
    long result =
        syscall(SYS_futex_time64, word, operation, value, deadline, NULL, FUTEX_BITSET_MATCH_ANY);
    if (result >= 0 || errno != ENOSYS) {
        return result;
    }
    /* A kernel before 5.1. Its clock began when it did, and does not come to the last second. */
    struct {
        int32_t seconds, nanoseconds;
    } older;
    if (deadline != NULL) {
        older.seconds = (int32_t)(deadline->seconds < INT32_MAX ? deadline->seconds : INT32_MAX);
        older.nanoseconds = (int32_t)deadline->nanoseconds;
    }
    return syscall(SYS_futex, word, operation, value, deadline == NULL ? NULL : &older, NULL,
                   FUTEX_BITSET_MATCH_ANY);
#else
    return syscall(SYS_futex, word, operation, value, deadline, NULL, FUTEX_BITSET_MATCH_ANY);
#endif
}

int os_wait(atomic_uint *word, unsigned expected, int64_t deadline_ns)
{
    int saved = errno, result = 0;
    const struct kernel_time deadline = {deadline_ns / 1000000000, deadline_ns % 1000000000};
    /* The bitset form is the one whose deadline is absolute, and CLOCK_MONOTONIC by default: a
       wait that goes on after a signal does not lengthen. */
    if (futex(word, FUTEX_WAIT_BITSET_PRIVATE, expected,
              deadline_ns == OS_NO_DEADLINE ? NULL : &deadline) != 0) {
        result = errno == EAGAIN ? 0 : errno;
    }
    errno = saved;
    return result;
}

void os_wake(atomic_uint *word, int count)
{
    int saved = errno;
    futex(word, FUTEX_WAKE_PRIVATE, (unsigned)count, NULL);
    errno = saved;
}

os_signals os_signal_mask(void)
{
    uint64_t mask = 0;
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, sizeof mask);
    return mask;
}

os_signals os_set_signal_mask(os_signals mask)
{
    uint64_t before = 0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, &before, sizeof mask);
    return before;
}

os_signals os_block_signals(void)
{
    /* 32 and 33 are the C library's. */
    return os_set_signal_mask(~(3ULL << 31));
}

os_signals os_block_all_signals(void)
{
    return os_set_signal_mask(~0ULL);
}

os_signals os_with_signal(os_signals signals, int signal)
{
    return signals | 1ULL << (signal - 1);
}

bool os_is_any_signal(os_signals signals)
{
    return signals != 0;
}

/* A set of signals that the kernel shows of a thread, in each field; none if there is no /proc. */
static void read_signals(const char *path, const char *const fields[], uint64_t sets[], int count)
{
    char status[2048];
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = 0;
    if (file >= 0) {
        length = read(file, status, sizeof status - 1);
        close(file);
    }
    status[length > 0 ? length : 0] = '\0';
    for (int i = 0; i < count; i++) {
        const char *found = strstr(status, fields[i]);
        sets[i] = found != NULL ? strtoull(found + strlen(fields[i]), NULL, 16) : 0;
    }
}

/* The signals that are pending for the calling thread alone. */
static uint64_t own_pending_signals(void)
{
    uint64_t pending;
    read_signals("/proc/thread-self/status", (const char *const[]){"\nSigPnd:"}, &pending, 1);
    return pending;
}

/* The signals that are pending for the process, and that the main thread is about to take. */
static uint64_t mains_pending_signals(void)
{
    static const char *const fields[] = {"\nShdPnd:", "\nSigBlk:"};
    enum { PENDING, BLOCKED, SETS };
    uint64_t sets[SETS];
    read_signals("/proc/self/status", fields, sets, SETS);
    return sets[PENDING] & ~sets[BLOCKED];
}

/* The main thread, if it loaded the library: it need not ask the kernel. */
static uintptr_t main_thread;

__attribute__((constructor)) static void note_main_thread(void)
{
    if (os_thread_id() == (unsigned long)getpid()) {
        main_thread = os_self();
    }
}

void os_unblock_signals(os_signals mask)
{
    /* The main thread, which is awake by now, may wait for a processor. */
    enum { FIRST_PAUSE_NS = 20000, LAST_PAUSE_NS = 200000000 };
    int saved = errno;
    uint64_t pending = 0;
    if (os_self() != main_thread) {
        syscall(SYS_rt_sigpending, &pending, sizeof pending);
    }
    if ((pending & ~mask) != 0 && os_thread_id() != (unsigned long)getpid()) {
        struct timespec pause = {0, FIRST_PAUSE_NS};
        while (pause.tv_nsec <= LAST_PAUSE_NS && (mains_pending_signals() & ~mask) != 0) {
            nanosleep(&pause, NULL);
            pause.tv_nsec *= 2;
        }
    }
    os_set_signal_mask(mask);
    errno = saved;
}

void os_discard_signals(void)
{
    static const struct timespec none;
    int saved = errno;
    uint64_t pending = 0;
    /* What is pending, most often nothing, may be the process's; those of the thread come first. */
    syscall(SYS_rt_sigpending, &pending, sizeof pending);
    while (pending != 0 && (pending = own_pending_signals()) != 0 &&
           syscall(SYS_rt_sigtimedwait, &pending, NULL, &none, sizeof pending) > 0) {
    }
    errno = saved;
}

#endif /* OS_PORTABLE */

unsigned long os_thread_id(void)
{
    return (unsigned long)syscall(SYS_gettid);
}

struct os_range os_stack(void)
{
    struct os_range stack = {0, 0};
    pthread_attr_t attr;
    int saved = errno;
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        void *low = NULL;
        pthread_attr_getstack(&attr, &low, &stack.size);
        stack.low = (uintptr_t)low;
        pthread_attr_destroy(&attr);
    }
    errno = saved;
    return stack;
}

size_t os_thread_count(void)
{
    struct stat task;
    /* A directory links to itself, its parent and its directories: here, one for each thread. */
    return stat("/proc/self/task", &task) == 0 ? task.st_nlink - 2 : 0;
}

void os_get_name(char name[OS_NAME_SIZE])
{
    prctl(PR_GET_NAME, name, 0, 0, 0);
}

void os_set_name(const char name[OS_NAME_SIZE])
{
    prctl(PR_SET_NAME, name, 0, 0, 0);
}

bool os_read(void *to, const void *from, size_t size)
{
    int saved = errno;
    struct iovec here = {to, size}, there = {(void *)(uintptr_t)from, size};
    bool is_read = process_vm_readv(getpid(), &here, 1, &there, 1, 0) == (ssize_t)size;
    errno = saved;
    return is_read;
}

bool os_look_at(unsigned long thread_id, char name[OS_NAME_SIZE], bool *runs)
{
    enum { MOST = 64 }; /* "4711 (a name) S ..." */
    char line[MOST + 1];
    struct text path = {.length = 0};
    int saved = errno;
    ssize_t length = -1;
    text_add(&path, "/proc/self/task/");
    text_add_number(&path, thread_id);
    text_add(&path, "/stat");
    int file = open(path.bytes, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        length = read(file, line, MOST);
        close(file);
    }
    errno = saved;
    line[length > 0 ? length : 0] = '\0';
    const char *begin = strchr(line, '('), *end = strrchr(line, ')');
    if (begin == NULL || end == NULL || end - begin - 1 >= OS_NAME_SIZE || end[1] == '\0') {
        return false;
    }
    memset(name, 0, OS_NAME_SIZE);
    memcpy(name, begin + 1, (size_t)(end - begin - 1));
    *runs = end[2] == 'R';
    return true;
}

int os_processors(void)
{
    /* Asked for once: it is read on the way into every spin, and a wrong answer is only slower. */
    static atomic_int known;
    int count = atomic_load_explicit(&known, memory_order_relaxed);
    if (count == 0) {
        cpu_set_t set;
        int saved = errno;
        /* The first thread's: the caller may be one of several that are bound to one each. */
        count = sched_getaffinity(getpid(), sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
        errno = saved;
        atomic_store_explicit(&known, count, memory_order_relaxed);
    }
    return count;
}

int os_processor(void)
{
    int saved = errno, processor = sched_getcpu();
    errno = saved;
    /* Where the system does not say, all are one. */
    return processor < 0 ? 0 : processor;
}
