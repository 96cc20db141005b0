# python_preload_test.sh - a real CPython runs modules of its own test suite under pythread-run, with
# libpythread.so instead of its thread layer. A module passes if only the tests fail that
# python_expected.txt lists. Tests that also fail without the library do not count. The interpreter is
# PYTHREAD_PYTHON, or the newest suitable one on PATH or under pyenv: 3.11 or newer, with its test suite,
# and with a shared libpython that calls PyThread_* through the PLT. (Those of distributions bind these
# calls directly, so no library can replace them.)
. "$(dirname "$0")/test.sh"

# suitable PYTHON: prints its version and path if it is suitable.
suitable() {
    "$1" -c '
import importlib.util, sys
tested = importlib.util.find_spec("test.test_threading") is not None
for line in open("/proc/self/maps"):
    if "/libpython3." in line and sys.version_info >= (3, 11) and tested:
        print("%d.%d" % sys.version_info[:2], sys.executable, line.split()[-1])
        break
' 2>/dev/null | while read -r version path libpython; do
        if readelf -rW "$libpython" | grep -q ' PyThread_start_new_thread'; then
            echo "$version $path"
        fi
    done
}

# Sets python and version, or skips.
find_python() {
    if [ -n "${PYTHREAD_PYTHON:-}" ]; then
        found=$(suitable "$PYTHREAD_PYTHON")
        [ -n "$found" ] || fail "$PYTHREAD_PYTHON is not suitable"
    else
        found=$(for candidate in python3 python3.11 python3.12 python3.13 python3.14 \
            "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[1-9].*/bin/python3; do
            suitable "$candidate"
        done | sort -V | tail -n 1)
        [ -n "$found" ] || skip "no Python whose shared libpython calls PyThread_* by the PLT:" \
            "build one with --enable-shared, and have it on PATH or in PYTHREAD_PYTHON"
    fi
    version=${found%% *} python=${found#* }
    echo "$python is $version"
}

preloaded() {
    "$binary_dir/pythread-run" "$python" "$@"
}

# Checks that the interpreter runs on the library: only the library's idents are small numbers.
check_in_use() {
    preloaded -c '
import sys, threading
assert sys.thread_info.version.startswith("libpythread "), sys.thread_info
thread = threading.Thread(target=lambda: None)
thread.start()
thread.join()
assert 0 < thread.ident < 1000, thread.ident
'
}

# module NAME ARGUMENT...: runs a module of the test suite, with further arguments for regrtest.
module() {
    find_python
    check_in_use
    name=$1 status=0
    preloaded -m test -v --timeout 250 --tempdir . "$@" >output 2>&1 || status=$?
    # A failed sub-test counts as its test.
    sed -n -E 's/^(FAIL|ERROR): [^ ]+ \(([^ )]+)\).*/\2/p' output | sort -u >failed
    sed 's/#.*//' "$here/python_expected.txt" | while read -r test when reason; do
        if grep -q -F "($test)" output; then echo "$test $when"; fi
    done | sort -u >expected
    sed 's/ .*//' expected >listed
    sed -n 's/ always$//p' expected >surely

    comm -23 failed listed | while read -r test; do
        if "$python" -m test --tempdir . "$name" -m "${test##*.}" >without 2>&1 </dev/null; then
            echo "fails with the library only: $test"
        else
            echo "fails without the library too: $test" >&2
        fi
    done >wrong
    comm -13 failed surely | sed 's/^/listed, but passed: /' >>wrong
    # 0: all passed; 2: some failed. Any other status is a crash, a hang, or a run without tests.
    if [ "$status" != 0 ] && { [ "$status" != 2 ] || ! [ -s failed ]; }; then
        echo "regrtest ended with $status" >>wrong
    fi
    grep '^Ran ' output || echo "no test ran" >>wrong
    if [ -s wrong ]; then
        cat output wrong
        exit 1
    fi
}

test_library_is_in_use() {
    find_python
    check_in_use
}

test_thread() {
    module test_thread
}

test_threading() {
    module test_threading
}

test_threading_local() {
    module test_threading_local
}

test_queue() {
    module test_queue
}

test_threadsignals() {
    module test_threadsignals
}

test_signal() {
    module test_signal
}

test_time() {
    module test_time
}

test_faulthandler() {
    module test_faulthandler
}

test_sched() {
    module test_sched
}

test_fork1() {
    module test_fork1
}

test_thread_pool() {
    find_python
    case $version in
    3.11 | 3.12) module test_concurrent_futures -m '*ThreadPool*' ;; # which was one module
    *) module test_concurrent_futures.test_thread_pool ;;
    esac
}

test_threaded_import() {
    find_python
    case $version in
    3.11 | 3.12) module test_threaded_import ;; # where the module's name was another
    *) module test_importlib.test_threaded_import ;;
    esac
}

test_sys() {
    module test_sys -m test_thread_info -m 'test_current_*'
}

main "$@"
