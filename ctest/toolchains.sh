# toolchains.sh - builds and tests the library and the Go packages with each Go, from the version in go.mod
# to the newest. The go command downloads what is not installed. Arguments: the directory of the test
# programs, then the versions.
. "$(dirname "$0")/test.sh"

programs=$1
shift
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$source_dir"
for GOTOOLCHAIN; do
    export GOTOOLCHAIN
    echo "== $("$go" version)"
    "$go" build -buildmode=c-shared -o "$scratch/libpythread.so.0" ./capi/libpythread
    "$go" test ./pythread ./capi
    for concept in thread thread_exit thread_handle thread_ident lock tss clean misuse first_thread; do
        for case in $("$programs/${concept}_test"); do
            # By this the programs find the library before their own.
            LD_LIBRARY_PATH=$scratch "$programs/${concept}_test" "$case" >"$scratch/output" 2>&1 || [ $? = 77 ] || {
                cat "$scratch/output"
                fail "$GOTOOLCHAIN: $concept.$case"
            }
        done
    done
done
