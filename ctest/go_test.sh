# go_test.sh - the Go packages pass Go's own tools: tests with the race detector, vet, and builds for
# other systems without cgo.
. "$(dirname "$0")/test.sh"

test_race() {
    cd "$source_dir"
    "$go" test -race ./pythread/... ./capi
}

test_capi() {
    cd "$source_dir"
    "$go" test ./capi ./capi/internal/...
}

test_mistakes_of_the_list_of_mutations_stand_in_the_sources() {
    cd "$source_dir"
    "$go" test ./ctest/mutations
}

test_vet() {
    cd "$source_dir"
    "$go" vet ./...
}

builds_for() {
    cd "$source_dir"
    export CGO_ENABLED=0 GOOS="$1" GOARCH="$2"
    "$go" build ./pythread/...
    "$go" vet ./pythread/...
}

test_builds_for_linux() {
    builds_for linux arm64
}

test_builds_for_darwin() {
    builds_for darwin arm64
}

test_builds_for_windows() {
    builds_for windows amd64
}

test_builds_for_js_wasm() {
    builds_for js wasm
}

test_builds_for_freebsd() {
    builds_for freebsd amd64
}

test_builds_for_32_bits() {
    builds_for linux 386
}

main "$@"
