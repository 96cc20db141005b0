# style_test.sh - the sources look and compile as CONTRIBUTING.md asks.
. "$(dirname "$0")/test.sh"

# Prints the C and C++ sources, without those of a build in the tree.
sources() {
    find "$source_dir/include" "$source_dir/capi" "$source_dir/cmake" "$source_dir/ctest" \
        "$source_dir/examples" -name '*.[ch]' -o -name '*.cpp'
}

test_clang_format() {
    need clang-format --with-tools
    # Each major version formats some code differently.
    clang-format --version | grep -q 'version 14\.' || skip "clang-format is not version 14"
    sources | xargs clang-format --dry-run --Werror
}

test_gofmt() {
    same "gofmt -l" "$("$("$go" env GOROOT)/bin/gofmt" -l "$source_dir/capi" "$source_dir/ctest" \
        "$source_dir/examples" "$source_dir/pythread")" ""
}

test_gcc_has_no_warning() {
    need gcc --with-tools
    warnings gcc -std=c11
}

test_clang_has_no_warning() {
    need clang --with-tools
    warnings clang -std=c11
}

test_hosted_workflow_runs_what_there_is() {
    cd "$source_dir"
    grep -E '^ *(- )?run: ' .github/workflows/*.yml | sed 's/.*run: //' >"$scratch/commands"
    [ -s "$scratch/commands" ] || fail "it runs nothing"
    while read -r program arguments; do
        case "$program $arguments" in
        */*\ *) [ -x "$program" ] || fail "there is no program $program" ;;
        "cmake --workflow --preset "*)
            "$CMAKE" --list-presets=workflow | grep -q "\"${arguments##* }\"" ||
                fail "there is no workflow ${arguments##* }"
            ;;
        "go test "*) "$go" list ${arguments#test } ;;
        *) fail "what is $program $arguments?" ;;
        esac
    done <"$scratch/commands"
}

main "$@"
