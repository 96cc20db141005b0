/*
 * process.h - for tests: the OS threads and the memory of the own process, its limits, and a
 * process of its own for a part of a test.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include "pythread.h"
#include "test.h"

#include <malloc.h>
#include <stdbool.h>

/* Allocators change the resident memory by so much, even without a leak. AddressSanitizer keeps
   freed memory, up to 256 MiB. Wine and qemu, under which tests for arm64 run, need more too. */
#if defined(_WIN32) || defined(__aarch64__)
enum { RESIDENT_SLACK_KIB = 16384 };
#else
enum { RESIDENT_SLACK_KIB = UNDER_ASAN ? 300 * 1024 : 8192 };
#endif

#ifdef _WIN32

#include <windows.h>

#include <psapi.h>

static inline long resident_kib(void)
{
    PROCESS_MEMORY_COUNTERS counters;
    CHECK(GetProcessMemoryInfo(GetCurrentProcess(), &counters, sizeof counters));
    return (long)(counters.WorkingSetSize / 1024);
}

static inline size_t mallocs_bytes(void)
{
    size_t bytes = 0;
    _HEAPINFO block = {0};
    while (_heapwalk(&block) == _HEAPOK) {
        bytes += block._useflag == _USEDENTRY ? block._size : 0;
    }
    return bytes;
}

#else

#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Executes this program anew, with the arguments that this process has. */
static inline void execute_anew(void)
{
    static char line[4096];
    char *arguments[16];
    size_t room = sizeof arguments / sizeof *arguments;
    size_t count = 0;
    FILE *file = fopen("/proc/self/cmdline", "r");
    CHECK(file != NULL);
    size_t length = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    for (char *next = line; next < line + length; next += strlen(next) + 1) {
        LT(count, room - 1);
        arguments[count++] = next;
    }
    arguments[count] = NULL;
    execv(arguments[0], arguments);
    _exit(127);
}

static inline void set_soft_limit(int resource, rlim_t soft)
{
    struct rlimit limit;
    EQ(getrlimit((__rlimit_resource_t)resource, &limit), 0);
    limit.rlim_cur = soft;
    EQ(setrlimit((__rlimit_resource_t)resource, &limit), 0);
}

/*
 * Runs func(argument) in a process of its own, and checks its exit status. If the process skips,
 * the case is skipped. The process executes the case anew, up to this call. It is not a child of a
 * fork, because that may never enter Go.
 */
static inline void run_in_process(void (*func)(long), long argument)
{
    static const char variable[] = "TEST_ARGUMENT";
    const char *own_argument = getenv(variable);
    char text[32];
    int status;
    if (own_argument != NULL) {
        alarm(50);
        func(atol(own_argument));
        fflush(NULL);
        _exit(0);
    }
    snprintf(text, sizeof text, "%ld", argument);
    fflush(NULL);
    pid_t child = fork();
    NE(child, -1);
    if (child == 0) {
        setenv(variable, text, 1);
        execute_anew();
    }
    EQ(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        _exit(77);
    }
    if (status != 0) {
        fprintf(stderr, "with %ld:\n", argument);
    }
    EQ(status, 0);
}

/* fork(), with an alarm that ends the child if it hangs. */
static inline pid_t fork_mortal(void)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(50);
    }
    GE(child, 0);
    return child;
}

/* fork() without the handlers of pthread_atfork. */
static inline pid_t fork_without_handlers(void)
{
    return (pid_t)syscall(SYS_clone, (long)SIGCHLD, NULL, NULL, NULL, NULL);
}

/* Waits for the end of a child, and checks its exit status. */
static inline void reap(pid_t child, int expected)
{
    int status;
    pid_t reaped;
    GT(child, 0);
    while ((reaped = waitpid(child, &status, 0)) < 0 && errno == EINTR) {
    }
    EQ(reaped, child);
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "the child was killed by signal %d\n", WTERMSIG(status));
    }
    EQ(status, expected << 8);
}

/* Runs func(arg) in a child, which ends well if every assertion holds. */
static inline void run_in_child(void (*func)(void *), void *arg)
{
    pid_t child = fork_mortal();
    if (child == 0) {
        func(arg);
        _exit(0);
    }
    reap(child, 0);
}

/* Returns a number from /proc/self/status. */
static inline long process_status(const char *field)
{
    char line[200];
    long value = -1;
    size_t length = strlen(field);
    FILE *status = fopen("/proc/self/status", "r");
    CHECK(status != NULL);
    while (value < 0 && fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, field, length) == 0 && line[length] == ':') {
            value = atol(line + length + 1);
        }
    }
    fclose(status);
    GE(value, 0);
    return value;
}

static inline int os_threads(void)
{
    return (int)process_status("Threads");
}

static inline long resident_kib(void)
{
    return process_status("VmRSS");
}

static inline size_t mallocs_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

#endif

#ifndef PYTHREAD_WITHOUT_GO
static inline void do_nothing_in_thread(void *unused)
{
    (void)unused;
}
#endif

/* Starts Go, if the library has it, by a thread. */
static inline void wait_for_go(void)
{
#ifndef PYTHREAD_WITHOUT_GO
    PyThread_ident_t ident;
    PyThread_handle_t handle;
    EQ(PyThread_start_joinable_thread(do_nothing_in_thread, NULL, &ident, &handle), 0);
    EQ(PyThread_join_thread(handle), 0);
#endif
}

/* Starts Go, and waits until its OS threads have allocated their memory. */
static inline void let_go_start(void)
{
    static bool has_started;
    size_t before;
    if (has_started) {
        return;
    }
    has_started = true;
    wait_for_go();
    do {
        before = mallocs_bytes();
        sleep_ms(50);
    } while (mallocs_bytes() != before);
}

/* Returns the bytes that are allocated by malloc. */
static inline size_t allocated_bytes(void)
{
    let_go_start();
    return mallocs_bytes();
}

#endif
