# static_test.sh - programs with the static library, and what the library leaves to them.
. "$(dirname "$0")/test.sh"

# program NAME: compiles and runs the program in standard input.
program() {
    has_static
    cat >"$1.c"
    "$CC" -std=gnu11 -Wall -Wextra -I"$source_dir/include" "$1.c" "$static_library" -pthread -ldl \
        -o "$1"
    "./$1"
}

test_a_constructor_of_the_program_starts_a_thread() {
    same output "$(program constructor <<'END'
#include <pthread.h>
#include <pythread.h>
#include <signal.h>
#include <stdio.h>

static void run(void *ran)
{
    *(int *)ran = 1;
}

static int ran;

__attribute__((constructor)) static void at_load(void)
{
    PyThread_ident_t ident;
    PyThread_handle_t thread;
    if (PyThread_start_joinable_thread(run, &ran, &ident, &thread) == 0) {
        PyThread_join_thread(thread);
    }
}

int main(void)
{
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    printf("ran %d, blocked %d\n", ran, sigismember(&mask, SIGTERM));
    return 0;
}
END
)" "ran 1, blocked 0"
}

test_names_of_the_programs_own_are_its_own() {
    same output "$(program names <<'END'
#include <pthread.h>
#include <pythread.h>
#include <stdio.h>

/* What the library, and the Go runtime in it, have too. */
int thread_run(void), go_start_thread(void), crosscall2(void), __wrap_pthread_create(void);
int thread_run(void) { return 1; }
int go_start_thread(void) { return 2; }
int crosscall2(void) { return 4; }
int __wrap_pthread_create(void) { return 8; }

static void run(void *unused)
{
    (void)unused;
}

static void *run_pthread(void *unused)
{
    return unused;
}

int main(void)
{
    PyThread_ident_t ident;
    PyThread_handle_t thread;
    pthread_t os_thread;
    int error = PyThread_start_joinable_thread(run, NULL, &ident, &thread);
    error = error || PyThread_join_thread(thread);
    error = error || pthread_create(&os_thread, NULL, run_pthread, NULL);
    error = error || pthread_join(os_thread, NULL);
    printf("%d %d\n", error, thread_run() + go_start_thread() + crosscall2() + __wrap_pthread_create());
    return 0;
}
END
)" "0 15"
}

main "$@"
