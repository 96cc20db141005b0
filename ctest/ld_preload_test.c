/*
 * ld_preload_test.c - programs that know nothing of the library do the same with the library
 * preloaded. PYTHREAD_LIBRARY in the environment says where it is.
 */
#define _GNU_SOURCE
#include "loading.h"

enum { OUTPUT = 1 << 20 };

/* Stores what a command writes, with or without the library preloaded. Returns its status. */
static int output_of(const char *command, bool preload, char *output)
{
    size_t length = 0, got;
    if (preload) {
        EQ(setenv("LD_PRELOAD", path(), 1), 0);
    } else {
        EQ(unsetenv("LD_PRELOAD"), 0);
    }
    fflush(NULL);
    FILE *pipe = popen(command, "r");
    CHECK(pipe != NULL);
    while ((got = fread(output + length, 1, OUTPUT - 1 - length, pipe)) > 0) {
        length += got;
    }
    output[length] = '\0';
    int status = pclose(pipe);
    EQ(unsetenv("LD_PRELOAD"), 0);
    return status;
}

static void compare(const char *command, int expected)
{
    static char with[OUTPUT], without[OUTPUT];
    test_skip_under_asan("it has to be loaded first");
    EQ(output_of(command, false, without), expected << 8);
    EQ(output_of(command, true, with), expected << 8);
    EQ_STR(with, without);
}

TEST(ls_is_the_same_with_the_library_preloaded)
{
    compare("exec 2>&1; ls -la /usr/lib /bin/ls /nowhere", 2);
    /* The library really was preloaded. */
    static char output[OUTPUT];
    EQ(output_of("exec cat /proc/self/maps", true, output), 0);
    CHECK(strstr(output, "libpythread.so") != NULL);
}

TEST(pipelines_are_the_same_with_the_library_preloaded)
{
    if (access("/bin/bash", X_OK) != 0) {
        test_skip("no bash");
    }
    compare("exec bash -c 'set -o pipefail; yes | head -1'", 141);
    compare("exec bash -c 'set -o pipefail; seq 100000 | head -3 | cat'", 141);
    compare("exec bash -c 'trap \"\" PIPE; (yes; echo $? >&2) 2>&1 >/dev/full | head -2'", 0);
    compare("exec bash -c 'sleep 10 & kill %1; wait %1; echo $?'", 0);
    compare("exec bash -c 'trap \"echo trapped\" USR1; kill -USR1 $$; echo after'", 0);
    compare("exec bash -c 'ulimit -c 0; sh -c \"kill -SEGV \\$\\$\"; echo $?' 2>/dev/null", 0);
    compare("exec timeout 0.1 sleep 10", 124);
}

TEST(sort_with_threads_is_the_same_with_the_library_preloaded)
{
    compare("export LC_ALL=C; seq 200000 | rev | sort --parallel=4 -S 100K | cksum", 0);
}

TEST(git_is_the_same_with_the_library_preloaded)
{
    if (system("git --version >/dev/null 2>&1") != 0) {
        test_skip("no git");
    }
    compare("exec 2>&1; set -e; d=$(mktemp -d); cd $d; export HOME=$d GIT_CONFIG_NOSYSTEM=1; "
            "git init -q -b main; for i in 1 2 3; do echo $i >$i; done; git add 1 2; "
            "git -c user.name=n -c user.email=e@example.org commit -q -m m "
            "--date=2000-01-01T00:00:00Z; echo 4 >>1; git status; git diff; git log --format=%s; "
            "git gc -q; git fsck --no-progress; cd /; rm -rf $d",
            0);
}
