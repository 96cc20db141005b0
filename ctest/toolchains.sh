# toolchains.sh - the library and the Go packages, built and tested with each Go from the one in
# go.mod to the newest; the go command downloads what is not installed. Arguments: the directory of the
# test programs, then the versions.
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
            # The programs find the library by this before their own.
            LD_LIBRARY_PATH=$scratch "$programs/${concept}_test" "$case" >"$scratch/output" 2>&1 || [ $? = 77 ] || {
                cat "$scratch/output"
                fail "$GOTOOLCHAIN: $concept.$case"
            }
        done
    done
done
