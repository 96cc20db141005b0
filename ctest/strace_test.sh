# strace_test.sh - a thread makes as many system calls as docs/system-calls.md says. strace counts them.
. "$(dirname "$0")/test.sh"

# The threads, one after another, run for so long that the joins wait.
build_threads() {
    cat >threads.c <<'EOF'
#include <pythread.h>
#include <stdlib.h>

static void wait_a_moment(void *lock)
{
    (void)PyThread_acquire_lock_timed(lock, 5000, 0);
}

int main(int argc, char **argv)
{
    PyThread_ident_t ident;
    PyThread_handle_t handle;
    PyThread_type_lock lock = PyThread_allocate_lock();
    PyThread_acquire_lock(lock, WAIT_LOCK);
    for (int i = argc > 1 ? atoi(argv[1]) : 0; i > 0; i--) {
        if (PyThread_start_joinable_thread(wait_a_moment, lock, &ident, &handle) != 0 ||
            PyThread_join_thread(handle) != 0) {
            return 1;
        }
    }
    return 0;
}
EOF
    "$CC" -I"$source_dir/include" threads.c "$PYTHREAD_LIBRARY" -Wl,-rpath,"$binary_dir" -o threads
}

# calls_of THREADS: how often that many threads make each call.
calls_of() {
    strace -f -c -o counts ./threads "$1" 2>strace_says || skip "$(tail -n 1 strace_says)"
    awk '$1 ~ /^[0-9.]+$/ && $NF != "total" { print $NF, $4 }' counts | sort
}

# counts_are_as_listed MODE COLUMN: so many calls more for 300 threads more are as many as in the column.
counts_are_as_listed() {
    need strace --with-tools
    [ "$(uname -m) $(getconf GNU_LIBC_VERSION)" = "x86_64 glibc 2.36" ] ||
        skip "the list is for glibc 2.36 on amd64"
    build_threads
    export PYTHREAD_REUSE="$1"
    calls_of 50 >few
    calls_of 350 >many
    join -a 2 few many | awk '
        { n = NF == 3 ? $3 - $2 : $2; if (int(n / 300 + 0.5) > 0) print $1, int(n / 300 + 0.5) }' >counted
    awk -F '|' -v column="$2" '/^\| `/ { gsub(/[` ]/, ""); print $2, $column }' \
        "$source_dir/docs/system-calls.md" | sort >page
    grep ' [0-9]' page >listed || fail "the page has no number"
    awk '$2 == "+" { print $1 }' page >sometimes
    grep -vwFf sometimes counted | diff -u listed -
}

test_a_thread_in_the_mode_clean_makes_the_listed_calls() {
    counts_are_as_listed clean 5
}

test_a_thread_in_the_mode_never_makes_the_listed_calls() {
    counts_are_as_listed never 6
}

test_a_thread_in_the_mode_always_makes_the_listed_calls() {
    counts_are_as_listed always 7
}

main "$@"
