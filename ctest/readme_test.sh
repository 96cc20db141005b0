# readme_test.sh - the programs in README.md, as they stand there.
. "$(dirname "$0")/test.sh"

# programs LANGUAGE MARK: writes README.md's programs in that language to files, named
# program<number>.<language>. A block of code is a program if it has the mark.
programs() {
    awk -v language="$1" -v mark="$2" '
        !inside && $0 == "```" language { inside = 1; text = ""; whole = 0; next }
        inside && $0 == "```" {
            if (whole) { printf "%s", text >("program" ++count "." language) }
            inside = 0
        }
        inside { text = text $0 "\n"; if (index($0, mark)) { whole = 1 } }
        ' "$source_dir/README.md"
    set -- program*."$1"
    [ -f "$1" ] || fail "there are none"
}

test_c_programs_run() {
    programs c "int main("
    for program in program*.c; do
        echo "== $program"
        "$CC" -std=c11 -Wall -Wextra -Wpedantic -Werror -I"$source_dir/include" "$program" \
            "$PYTHREAD_LIBRARY" -Wl,-rpath,"$binary_dir" -o program
        ./program
    done
}

test_go_programs_run() {
    programs go "package main"
    module=$(sed -n 's/^module //p' "$source_dir/go.mod")
    "$go" mod init example.com/program
    "$go" mod edit -require "$module@v0.0.0" -replace "$module=$source_dir"
    for program in program*.go; do
        echo "== $program"
        "$go" vet "$program"
        "$go" run "$program"
    done
}

main "$@"
