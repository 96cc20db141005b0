/*
 * os_linux.c - the part of os.h that is special to Linux: private futexes, masks of 64 signals,
 * gettid, prctl.
 */
#define _GNU_SOURCE
#include "os.h"

#include "show/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Reads the beginning of a file, which is "" if the file cannot be read. */
static void read_text(const char *path, char *text, size_t size)
{
    int state = os_forbid_cancel(), file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = 0;
    if (file >= 0) {
        length = read(file, text, size - 1);
        close(file);
    }
    text[length > 0 ? length : 0] = '\0';
    os_allow_cancel(state);
}

#ifndef OS_PORTABLE

/* The kernel's own time: the C library's time_t may have 32 bits. */
struct kernel_time {
    int64_t seconds, nanoseconds;
};

static long futex(atomic_uint *word, int operation, unsigned value,
                  const struct kernel_time *deadline)
{
#ifdef SYS_futex_time64 /* A 32-bit processor: the older call has 32 bits for the time. */
    long result =
        syscall(SYS_futex_time64, word, operation, value, deadline, NULL, FUTEX_BITSET_MATCH_ANY);
    if (result >= 0 || errno != ENOSYS) {
        return result;
    }
    /* A kernel before 5.1. Its clock began with the kernel, and never reaches the last second. */
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
    /* The bitset form has an absolute deadline on CLOCK_MONOTONIC. So a wait that goes on after a
       signal does not get longer. */
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
    /* The C library uses 32 and 33. */
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

/* Reads the sets of signals in these fields of a file in /proc; empty sets if there is no /proc. */
static void read_signals(const char *path, const char *const fields[], uint64_t sets[], int count)
{
    char status[2048];
    read_text(path, status, sizeof status);
    for (int i = 0; i < count; i++) {
        const char *found = strstr(status, fields[i]);
        sets[i] = found != NULL ? strtoull(found + strlen(fields[i]), NULL, 16) : 0;
    }
}

/* The signals that are pending for only the calling thread. */
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

/* The main thread, if it loaded the library. It need not ask the kernel. */
static uintptr_t main_thread;

__attribute__((constructor)) static void note_main_thread(void)
{
    if (os_is_main_thread()) {
        main_thread = os_self();
    }
}

void os_unblock_signals(os_signals mask)
{
    /* The main thread is awake by now, but may wait for a processor. */
    enum { FIRST_PAUSE_NS = 20000, LAST_PAUSE_NS = 200000000 };
    int saved = errno;
    uint64_t pending = 0;
    if (os_self() != main_thread) {
        syscall(SYS_rt_sigpending, &pending, sizeof pending);
    }
    if ((pending & ~mask) != 0 && !os_is_main_thread()) {
        int64_t pause = FIRST_PAUSE_NS;
        while (pause <= LAST_PAUSE_NS && (mains_pending_signals() & ~mask) != 0) {
            os_sleep(pause);
            pause *= 2;
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
    /* Pending signals may belong to the process. sigtimedwait takes those of the thread first. */
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

void os_give_back_stack(uintptr_t low)
{
    enum { STAYS = 256 * 1024 };
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t end = ((uintptr_t)__builtin_frame_address(0) - STAYS) & -page;
    int saved = errno;
    if (end > low) {
        madvise((void *)low, end - low, MADV_DONTNEED);
    }
    errno = saved;
}

size_t os_thread_count(void)
{
    struct stat task;
    /* The link count of this directory is 2 and the number of its directories, one a thread. */
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
    text_add(&path, "/proc/self/task/");
    text_add_number(&path, thread_id);
    text_add(&path, "/stat");
    read_text(path.bytes, line, sizeof line);
    errno = saved;
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
    /* Read once, because every spin needs it. A wrong number only costs time. */
    static atomic_int known;
    int count = atomic_load_explicit(&known, memory_order_relaxed);
    if (count == 0) {
        cpu_set_t set;
        int saved = errno;
        /* The affinity of the main thread: the caller may be bound to one processor. */
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
    /* 0 if the system does not say. */
    return processor < 0 ? 0 : processor;
}

unsigned long os_move_from(int processor, unsigned long thread_id)
{
    enum { BITS = CHAR_BIT * sizeof(long) };
    int saved = errno;
    unsigned long set = 0;
    bool is_moved = false;
    if (processor < BITS &&
        syscall(SYS_sched_getaffinity, thread_id, sizeof set, &set) == sizeof set) {
        unsigned long others = set & ~(1UL << processor);
        /* The kernel refuses an empty set. */
        is_moved = syscall(SYS_sched_setaffinity, thread_id, sizeof others, &others) == 0;
    }
    errno = saved;
    return is_moved ? set : 0;
}

void os_set_processors(unsigned long set)
{
    int saved = errno;
    syscall(SYS_sched_setaffinity, 0, sizeof set, &set);
    errno = saved;
}
