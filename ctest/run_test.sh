# run_test.sh - pythread-run: its options, and the programs that it runs. preload_test.c tests the
# preloaded libraries, and python_preload_test.sh tests a Python on them.
. "$(dirname "$0")/test.sh"

run=$binary_dir/pythread-run

# Checks that pythread-run refuses the arguments, with status 2 and one line with these words.
refuses() {
    words=$1
    shift
    status=0
    "$run" "$@" >output 2>error || status=$?
    [ "$status" = 2 ] || fail "status $status"
    [ ! -s output ] || fail "output"
    [ "$(wc -l <error)" = 1 ] || fail "not one line: $(cat error)"
    grep -q -- "$words" error || fail "$(cat error)"
}

test_bad_arguments_are_refused() {
    refuses "no program"
    refuses "no such option: --reuse=sometimes" --reuse=sometimes true
    refuses "no such option: -x" -x true
}

test_help_and_version() {
    "$run" --help | grep -q '^usage: pythread-run'
    [ "$("$run" --version)" = "pythread-run $(cd "$binary_dir" && ls libpythread.so.*.* | sed 's/.*\.so\.//')" ]
}

test_arguments_and_status_are_the_programs() {
    status=0
    "$run" -- sh -c 'echo "$1|$2" && exit 7' sh 'a  b' '--help' >output || status=$?
    [ "$status" = 7 ]
    [ "$(cat output)" = "a  b|--help" ]
}

test_what_is_preloaded_already_stays() {
    LD_PRELOAD="$binary_dir/libpythread.so" "$run" sh -c 'echo "$LD_PRELOAD"' >output
    grep -q "libpythread-preload.so .*libpythread.so.* $binary_dir/libpythread.so\$" output
}

test_the_mode_of_reuse_is_passed_on() {
    for mode in never clean always; do
        [ "$("$run" --reuse=$mode sh -c 'echo "$PYTHREAD_REUSE"')" = $mode ]
    done
}

test_runs_from_another_place() {
    "$CMAKE" --install "$binary_dir" --prefix "$scratch/first" >/dev/null
    mv first moved
    ln -s moved/bin/pythread-run link
    ./link "$binary_dir/ctest/preload_test" an_ident_of_a_thread_that_has_ended_is_esrch
    LD_PRELOAD='' ./moved/bin/pythread-run sh -c 'echo "$LD_PRELOAD"' | grep -q "^$scratch/moved/lib"
}

test_a_python_that_does_not_call_it_is_told_of_once() {
    cat >python.c <<'END'
#include <stdio.h>
#include <stdlib.h>
int Py_IsInitialized(void) { return 1; }
int main(int argc, char **argv)
{
    (void)argv;
    return argc > 1 ? 0 : system("./python again");
}
END
    "$CC" -rdynamic python.c -o python
    "$run" ./python 2>error
    [ "$(grep -c 'does not call its thread layer' error)" = 1 ] || fail "$(cat error)"
    "$run" sh -c './python; ./python' 2>error
    [ "$(grep -c 'does not call its thread layer' error)" = 2 ] || fail "$(cat error)"
    cat >>python.c <<'END'
unsigned long PyThread_start_new_thread(void (*)(void *), void *);
unsigned long (*start)(void (*)(void *), void *) = PyThread_start_new_thread;
END
    "$CC" -rdynamic python.c "$binary_dir/libpythread.so" -Wl,-rpath,"$binary_dir" -o python
    "$run" ./python 2>error
    [ ! -s error ] || fail "$(cat error)"
}

main "$@"
