/*
 * test.h - the test framework: cases, assertions that print both values, and a main that runs one
 * case. So each case has a process of its own. `prog` lists the cases, `prog CASE` runs one. It
 * exits 0 if the case passed, 1 if an assertion failed, 77 if the case was skipped. Invariant: an
 * assertion that fails ends the process at once.
 */
#ifndef TEST_H
#define TEST_H

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#define pipe(ends) _pipe(ends, 4096, _O_BINARY)
#endif

/* The sanitizer that the test is built with. gcc defines a macro; clang has __has_feature. */
#ifdef __has_feature
#define TEST_HAS(sanitizer) __has_feature(sanitizer)
#else
#define TEST_HAS(sanitizer) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || TEST_HAS(address_sanitizer)
#define UNDER_ASAN 1
#else
#define UNDER_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__) || TEST_HAS(thread_sanitizer)
#define UNDER_TSAN 1
#else
#define UNDER_TSAN 0
#endif

/* Under a sanitizer a case is several times slower, so it does less of the same. */
enum { SLOWER = UNDER_ASAN || UNDER_TSAN ? 5 : 1 };

struct test_case {
    const char *name;
    void (*run)(void);
    struct test_case *next;
};

static struct test_case *test_cases;

/* TEST(behaviour_that_holds) { ... } defines a case. CMake finds cases by these lines. */
#define TEST(case_name)                                                                            \
    static void case_name(void);                                                                   \
    static struct test_case test_case_##case_name = {#case_name, case_name, NULL};                 \
    __attribute__((constructor)) static void test_register_##case_name(void)                       \
    {                                                                                              \
        test_case_##case_name.next = test_cases;                                                   \
        test_cases = &test_case_##case_name;                                                       \
    }                                                                                              \
    static void case_name(void)

/* Ends the process by _exit, because the case may have threads that never end. */
__attribute__((noreturn)) static inline void test_fail(void)
{
    fflush(NULL);
    _exit(1);
}

/* skipped.sh reads the line that begins with "skipped: ". */
__attribute__((noreturn, unused, format(printf, 1, 2))) static inline void
test_skip(const char *reason, ...)
{
    va_list arguments;
    va_start(arguments, reason);
    printf("skipped: ");
    vprintf(reason, arguments);
    printf("\n");
    va_end(arguments);
    fflush(NULL);
    _exit(77);
}

/* Skips a case that cannot run under AddressSanitizer. */
__attribute__((unused)) static inline void test_skip_under_asan(const char *reason)
{
    if (UNDER_ASAN) {
        test_skip("AddressSanitizer: %s", reason);
    }
}

/* The reason for cases in which the child of a fork starts threads. */
#define ASAN_AFTER_FORK "a lock of its allocator may be held for ever in the child of a fork"

static inline void test_compare(int holds, const char *file, int line, const char *text,
                                long long left, long long right)
{
    if (!holds) {
        fprintf(stderr, "%s:%d: %s: left is %lld (0x%llx), right is %lld (0x%llx)\n", file, line,
                text, left, (unsigned long long)left, right, (unsigned long long)right);
        test_fail();
    }
}

/* These are macros because they print their arguments and the line. */
#define CHECK(condition) test_compare(!!(condition), __FILE__, __LINE__, #condition, 0, 1)
#define COMPARE(left, op, right)                                                                   \
    do {                                                                                           \
        long long test_left = (long long)(left), test_right = (long long)(right);                  \
        test_compare(test_left op test_right, __FILE__, __LINE__, #left " " #op " " #right,        \
                     test_left, test_right);                                                       \
    } while (0)
#define EQ(left, right) COMPARE(left, ==, right)
#define NE(left, right) COMPARE(left, !=, right)
#define LT(left, right) COMPARE(left, <, right)
#define LE(left, right) COMPARE(left, <=, right)
#define GT(left, right) COMPARE(left, >, right)
#define GE(left, right) COMPARE(left, >=, right)
#define EQ_PTR(left, right) EQ((intptr_t)(left), (intptr_t)(right))
#define EQ_STR(left, right)                                                                        \
    do {                                                                                           \
        const char *test_left = (left), *test_right = (right);                                     \
        if (strcmp(test_left, test_right) != 0) {                                                  \
            fprintf(stderr, "%s:%d: %s == %s: left is \"%s\", right is \"%s\"\n", __FILE__,        \
                    __LINE__, #left, #right, test_left, test_right);                               \
            test_fail();                                                                           \
        }                                                                                          \
    } while (0)

__attribute__((unused)) static inline long long monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

__attribute__((unused)) static inline void sleep_ms(long ms)
{
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

/* Returns a random number. The caller seeds the state with any number but 0. */
__attribute__((unused)) static inline uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

#if UNDER_ASAN
static pid_t test_process;

/* LeakSanitizer calls this. In the child of a fork it would report the memory of the parent's
   threads as leaks. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return getpid() != test_process;
}

/* LeakSanitizer calls this. While an OS thread ends, only a register may point to its record. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:own_start\nleak:own_watch_end\nleak:watched_end\n";
}

__attribute__((constructor)) static void test_set_process(void)
{
    test_process = getpid();
}
#endif

int main(int argc, char **argv)
{
    for (struct test_case *c = test_cases; c != NULL; c = c->next) {
        if (argc < 2) {
            puts(c->name);
        } else if (strcmp(argv[1], c->name) == 0) {
            c->run();
            return 0;
        }
    }
#ifdef _WIN32
    if (argc == 2) {
        test_skip("not on Windows");
    }
#endif
    return argc < 2 ? 0 : 2;
}

#endif
