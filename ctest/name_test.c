/*
 * name_test.c - names of threads: the system knows the name that a thread gives itself, cut where
 * it is too long, and no other thread has it.
 */
#define _GNU_SOURCE
#include "process.h"
#include "threads.h"

#include <pthread.h>
#include <signal.h>

enum { NAME = 16 };

static void check_name(const char *expected)
{
    char name[NAME];
    EQ(pthread_getname_np(pthread_self(), name, sizeof name), 0);
    EQ_STR(name, expected);
}

static void name_self(void *unused)
{
    (void)unused;
    errno = EDOM;
    EQ(pythread_set_name("reader"), 0);
    EQ(errno, EDOM);
    check_name("reader");
    EQ(pythread_set_name("writer"), 0);
    check_name("writer");
    EQ(pythread_set_name(""), 0);
    check_name("");
}

static void *pthread_names_self(void *unused)
{
    name_self(unused);
    return NULL;
}

TEST(any_thread_names_itself)
{
    pthread_t pthread;
    join(start(name_self, NULL));
    use_own_os_threads(1);
    join(start(name_self, NULL));
    EQ(pthread_create(&pthread, NULL, pthread_names_self, NULL), 0);
    EQ(pthread_join(pthread, NULL), 0);
    name_self(NULL);
}

TEST(a_name_of_15_bytes_is_whole_and_a_longer_one_is_cut)
{
    EQ(pythread_set_name("123456789012345"), 0);
    check_name("123456789012345");
    EQ(pythread_set_name("1234567890123456"), 0);
    check_name("123456789012345");
}

TEST(a_name_is_cut_between_characters)
{
    static const char *const cases[][2] = {
        {"1234567890123\xC3\xA9", "1234567890123\xC3\xA9"}, /* two bytes, which end at 15 */
        {"12345678901234\xC3\xA9", "12345678901234"},       /* and at 16 */
        {"1234567890123\xE2\x82\xAC", "1234567890123"},     /* three bytes */
        {"12345678901234\xE2\x82\xAC", "12345678901234"},   /* of which one would fit */
        {"123456789012\xF0\x9F\x90\x8D", "123456789012"},   /* four */
        {"12345678901\xF0\x9F\x90\x8D-", "12345678901\xF0\x9F\x90\x8D"},
        {"1234567890\xA9\xA9\xA9\xA9\xA9\xA9\xA9", "1234567890\xA9\xA9\xA9\xA9\xA9"}, /* none */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        EQ(pythread_set_name(cases[i][0]), 0);
        check_name(cases[i][1]);
    }
}

TEST(no_name_is_refused_and_changes_nothing)
{
    EQ(pythread_set_name("main"), 0);
    EQ(pythread_set_name(NULL), EINVAL);
    check_name("main");
}

static void find_mains_name(void *unused)
{
    (void)unused;
    check_name("main");
    EQ(pythread_set_name("changed"), 0);
}

TEST(a_name_does_not_reach_the_next_thread)
{
    enum { AT_ONCE = 20 };
    PyThread_handle_t handles[AT_ONCE];
    EQ(pythread_set_name("main"), 0);
    for (int i = 0; i < 100; i++) {
        for (int k = 0; k < AT_ONCE; k++) {
            handles[k] = start(find_mains_name, NULL);
        }
        for (int k = 0; k < AT_ONCE; k++) {
            join(handles[k]);
        }
    }
}

TEST(threads_of_the_child_of_a_fork_name_themselves)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    join(start(name_self, NULL));
    pid_t child = fork_mortal();
    if (child == 0) {
        name_self(NULL);
        join(start(name_self, NULL));
        _exit(0);
    }
    reap(child, 0);
}
