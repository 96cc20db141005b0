# readme_test.sh - the programs and commands in README.md, and the programs in docs/*.md, work as they are
# printed.
. "$(dirname "$0")/test.sh"

# programs LANGUAGE MARK [NAME]: writes the programs in that language to files, named
# program<number>.<language>, or with NAME for "program". A block of code is one if it has the mark.
programs() {
    awk -v language="$1" -v mark="$2" -v name="${3-program}" '
        !inside && $0 == "```" language { inside = 1; text = ""; whole = 0; next }
        inside && $0 == "```" {
            if (whole) { printf "%s", text >(name (++count) "." language) }
            inside = 0
        }
        inside { text = text $0 "\n"; if (index($0, mark)) { whole = 1 } }
        ' "$source_dir/README.md" "$source_dir"/docs/*.md
    set -- "${3-program}"*."$1"
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

# Runs the two commands in a copy of the sources. The program runs from any directory.
test_commands_make_a_program() {
    programs c "int main("
    programs sh "go build" commands
    for part in go.mod include internal capi pythread; do
        cp -R "$source_dir/$part" .
    done
    cp program1.c prog.c
    PATH=$(dirname "$(command -v "$go")"):$PATH sh -eu commands1.sh
    (cd / && "$scratch/prog")
}

test_go_programs_run() {
    programs go "package main"
    programs c " start(void)" plugin # which one of the programs loads
    "$CC" -std=c11 -Wall -Wextra -Wpedantic -Werror -I"$source_dir/include" -shared -fPIC plugin1.c \
        -o plugin.so
    module=$(sed -n 's/^module //p' "$source_dir/go.mod")
    "$go" mod init example.com/program
    "$go" mod edit -require "$module@v0.0.0" -replace "$module=$source_dir"
    for program in program*.go; do
        echo "== $program"
        CGO_CPPFLAGS=-I"$source_dir/include" "$go" vet "$program"
        "$go" run "$program" >log 2>&1 || fail "$(cat log)"
        cat log
        grep -q '^hello from' log || fail "it prints nothing"
    done
}

main "$@"
