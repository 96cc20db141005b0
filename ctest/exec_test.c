/*
 * exec_test.c - a process with threads executes programs, in a child and in its own place, as it
 * does without the library. It exits whatever its threads do.
 */
#define _GNU_SOURCE
#include "forks.h"

#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>

extern char **environ;

/* ------------------------------------------------------------------------ exec */

/* A program that was executed prints what it inherited: signals, name, number of threads. */
static void read_output(int in, char *output, size_t size)
{
    size_t length = 0;
    ssize_t got;
    while (length < size - 1 && (got = read(in, output + length, size - 1 - length)) != 0) {
        if (got > 0) {
            length += (size_t)got;
        }
    }
    output[length] = '\0';
}

enum { OUTPUT = 1024 };
static char program[] = "/bin/sh", option[] = "-c",
            command[] = "grep -E '^(Name|Threads|SigBlk|SigIgn|SigCgt|SigPnd|ShdPnd):' "
                        "/proc/self/status; exit 7";
static char *const arguments[] = {program, option, command, NULL};

static void run_program(int way, char output[OUTPUT])
{
    int ends[2];
    pid_t child;
    posix_spawn_file_actions_t actions;
    EQ(pipe2(ends, O_CLOEXEC), 0);
    if (way == 0) {
        child = fork_mortal();
    } else if (way == 1) {
        child = vfork();
    } else {
        EQ(posix_spawn_file_actions_init(&actions), 0);
        EQ(posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO), 0);
        EQ(posix_spawn(&child, program, &actions, NULL, arguments, environ), 0);
        EQ(posix_spawn_file_actions_destroy(&actions), 0);
    }
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execv(program, arguments);
        _exit(127);
    }
    close(ends[1]);
    read_output(ends[0], output, OUTPUT);
    close(ends[0]);
    reap(child, 7);
}

static char outputs[3][OUTPUT];

static void compare_programs(void *arg)
{
    char output[OUTPUT];
    (void)arg;
    for (int way = 0; way < 3; way++) {
        run_program(way, output);
        EQ_STR(output, outputs[way]);
    }
    EQ(system("exit 3"), 3 << 8);
    FILE *pipe = popen("printf hello; exit 5", "r");
    CHECK(pipe != NULL);
    CHECK(fgets(output, sizeof output, pipe) != NULL);
    EQ_STR(output, "hello");
    EQ(pclose(pipe), 5 << 8);
}

TEST(programs_are_executed_as_without_the_library)
{
    for (int way = 0; way < 3; way++) {
        run_program(way, outputs[way]);
        CHECK(strstr(outputs[way], "SigCgt:") != NULL);
    }
    compare_programs(NULL);
    open_scene();
    compare_programs(NULL);
    join(start(compare_programs, NULL));
    use_own_os_threads(1);
    join(start(compare_programs, NULL));
    close_scene();
}

static void exec_here(void *arg)
{
    (void)arg;
    execv(program, arguments);
    _exit(127);
}

TEST(a_thread_may_execute_a_program_in_place_of_the_process)
{
    for (int i = 0; i < 20; i++) {
        pid_t child = fork_mortal();
        if (child == 0) {
            int null = open("/dev/null", O_WRONLY);
            EQ(dup2(null, STDOUT_FILENO), STDOUT_FILENO);
            use_own_os_threads(i % 2);
            start(stay, NULL);
            join(start(exec_here, NULL));
        }
        reap(child, 7);
    }
}

/* ------------------------------------------------------------------------ exit */

static void exit_here(void *arg)
{
    (void)arg;
    exit(5);
}

static void *exit_in_pthread(void *arg)
{
    exit_here(arg);
    return arg;
}

TEST(a_process_exits_whatever_its_threads_do)
{
    enum { PLACES = 5, ROUNDS = 10 };
    for (int i = 0; i < PLACES * ROUNDS; i++) {
        pthread_t pthread;
        pid_t child = fork_mortal();
        if (child != 0) {
            reap(child, 5);
            continue;
        }
        open_scene();
        use_own_os_threads(i % PLACES == 3);
        if (i % PLACES == 0) {
            exit(5);
        } else if (i % PLACES == 1) {
            _exit(5);
        } else if (i % PLACES == 2) {
            EQ(pthread_create(&pthread, NULL, exit_in_pthread, NULL), 0);
            EQ(pthread_join(pthread, NULL), 0);
        }
        join(start(exit_here, NULL));
    }
}
