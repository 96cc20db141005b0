# test.sh - the test framework for scripts, as test.h is for C. A <concept>_test.sh sources it at its
# top. Its functions test_CASE are the cases, and its last line is: main "$@". `sh x_test.sh --list`
# prints the cases. `sh x_test.sh CASE` runs one, in an empty directory that is removed afterwards. It
# exits 0 if the case passed, 77 if it was skipped. Invariant: the first command that fails ends the
# case.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
source_dir=${PYTHREAD_SOURCE_DIR:-$(dirname "$here")}
binary_dir=${PYTHREAD_BINARY_DIR:-$source_dir/build}
CC=${CC:-cc} CXX=${CXX:-c++} CMAKE=${CMAKE:-cmake}
# As in the build, without the settings for Go in the caller's environment.
go=${GO:-go}
export GOFLAGS=-buildvcs=false GOWORK=off

fail() {
    echo "$*" >&2
    exit 1
}

skip() {
    echo "skipped: $*"
    exit 77
}

# need COMMAND [OPTION]: skips if the command is missing, which setup.sh OPTION installs.
need() {
    command -v "$1" >/dev/null || skip "no $1${2+: ./setup.sh${2:+ $2} installs it}"
}

static_library=$binary_dir/libpythread.a
has_static() {
    [ -f "$static_library" ] || skip "this build is without PYTHREAD_STATIC"
}

# run_consumer: runs the programs of the project consumer/, built in the directory consumer.
run_consumer() {
    consumer/consumer_c
    consumer/consumer_cxx
    if [ -f "$static_library" ]; then
        consumer/consumer_static
    fi
}

# compile_capi COMPILER FLAG...: compiles the C files of capi as the go command does, to
# objects/<path in capi>.o. The headers that cgo generates count as system headers, so they cause no
# warnings.
compile_capi() {
    compiler=$1
    shift
    cd "$source_dir"
    packages=$("$go" list -f '{{if .CFiles}}{{.Dir}}{{end}}' ./capi/...)
    [ -n "$packages" ] || fail "there are no packages in capi"
    for package in $packages; do
        cd "$package"
        list() {
            "$go" list -f "{{join .$1 \" \"}}" .
        }
        flags=$(list CgoCFLAGS)
        "$go" tool cgo -objdir "$scratch/cgo" -- $flags $(list CgoFiles)
        folder=$scratch/objects/${package#"$source_dir/capi"}
        mkdir -p "$folder"
        for file in $(list CFiles); do
            "$compiler" $flags "$@" -I. -isystem "$scratch/cgo" -c "$file" -o "$folder/$file.o"
        done
        rm -r "$scratch/cgo"
    done
    cd "$scratch"
}

# warnings COMPILER [FLAG...]: compiles the C files of capi, and fails at the first warning.
warnings() {
    compile_capi "$@" -O2 -Wall -Wextra -Wpedantic -Werror
}

# same WHAT LEFT RIGHT
same() {
    [ "$2" = "$3" ] || fail "$1: left is \"$2\", right is \"$3\""
}

main() {
    if [ "$1" = --list ]; then
        sed -n 's/^test_\([a-z0-9_]*\)() {$/\1/p' "$0"
        exit
    fi
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    cd "$scratch"
    "test_$1"
}
