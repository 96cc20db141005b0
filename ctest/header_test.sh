# header_test.sh - the headers as users include them: in every standard, beside Python.h, and the
# programs in its comments.
. "$(dirname "$0")/test.sh"

# The compilers of the build and, where installed, the others.
compilers() {
    for compiler in "$@"; do
        if command -v "$compiler" >/dev/null; then
            echo "$compiler"
        fi
    done
}

# compiles LANGUAGE STANDARD COMPILER... <SOURCE
compiles() {
    language=$1 standard=$2
    shift 2
    cat >source
    for compiler in $(compilers "$@"); do
        "$compiler" -x "$language" -std="$standard" -Wall -Wextra -Wpedantic -Wundef -Werror \
            -I"$source_dir/include" ${python_flags-} -fsyntax-only source
    done
}

c_compiles() {
    printf '#include <pythread.h>\n#include <pylock.h>\n' | compiles c "$1" "$CC" gcc clang
}

test_compiles_as_c99() {
    c_compiles c99
}

test_compiles_as_c11() {
    c_compiles c11
}

test_compiles_as_c17() {
    c_compiles c17
}

test_compiles_as_cxx17() {
    echo '#include <pylock.h>' | compiles c++ c++17 "$CXX" g++ clang++
}

test_prototypes_are_strict() {
    printf '#pragma GCC diagnostic error "-Wstrict-prototypes"\n#include <pylock.h>\n' |
        compiles c c99 "$CC" gcc clang
}

find_python() {
    python_flags=$(pkg-config --cflags python3-embed 2>/dev/null) || \
        skip "no python3-embed: ./setup.sh --with-python installs it"
    python_flags=$(echo "$python_flags" | sed 's/-I/-isystem /g')
}

test_steps_aside_after_python_h() {
    find_python
    compiles c c11 "$CC" gcc clang <<END
#include <Python.h>
#include <pythread.h>
#ifdef PYTHREAD_VERSION_MAJOR
#error "it does not step aside"
#endif
PyObject *(*info)(void) = PyThread_GetInfo;
END
}

test_goes_before_python_h() {
    find_python
    compiles c c11 "$CC" gcc clang <<END
#include <pythread.h>
#include <Python.h>
#ifndef PYTHREAD_VERSION_MAJOR
#error "it is not the header under test"
#endif
PyObject *(*info)(void) = PyThread_GetInfo;
END
}

# CPython has mutexes since 3.13.
test_mutexes_work_beside_any_python_h() {
    find_python
    for order in "Python pylock" "pylock Python"; do
        for language in "c c11 $CC gcc clang" "c++ c++17 $CXX g++ clang++"; do
            {
                printf '#include <%s.h>\n' $order
                echo 'static PyMutex mutex; void use(void);'
                echo 'void use(void) { PyMutex_Lock(&mutex); PyMutex_Unlock(&mutex); }'
            } | compiles $language
        done
    done
}

test_programs_in_comments_run() {
    awk '/^ \* @code$/ { file = "program" ++count ".c"; next }
         /^ \* @endcode$/ { file = ""; next }
         file { sub(/^ \* ?/, ""); print >file }' "$source_dir"/include/*.h
    for program in program*.c; do
        [ -f "$program" ] || fail "there are none"
        echo "== $program"
        "$CC" -std=c11 -Wall -Wextra -Wpedantic -Werror -I"$source_dir/include" "$program" \
            "$PYTHREAD_LIBRARY" -Wl,-rpath,"$binary_dir" -o program
        ./program
    done
}

main "$@"
