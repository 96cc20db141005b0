# cksum_test.sh - pythread-cksum does the same as cksum, also when files, threads or descriptors run
# out. The program under test comes before the case: cksum_test.sh PROG CASE.
. "$(dirname "$0")/test.sh"
export LC_ALL=C # the order and the messages of the tools

# ---- helpers of the cases ------------------------------------------------------------------------

# Runs the program: output in out, errors in err, exit status in $status.
run() {
    status=0
    "$prog" "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
}

# Runs a function beside the program: it is the other end of a FIFO. It ends with the case at the
# latest. It holds no output open, since a reader of the case's output would wait for its end.
meanwhile() {
    "$1" >/dev/null 2>&1 &
    trap 'kill $! 2>/dev/null || :; rm -rf "$scratch"' EXIT
}

# The sums that cksum gives for the operands, as what is wanted.
want() {
    cksum "$@" >"$scratch/want"
}

# The same for the regular files below a directory, in the order of their sorted paths.
want_tree() {
    find -H "$1" -type f -print0 | sort -z | xargs -0 -r cksum >"$scratch/want"
}

# Checks that the run printed what is wanted, and ended with this status.
check() { # STATUS
    if ! cmp -s "$scratch/want" "$scratch/out" || [ "$status" -ne "$1" ]; then
        diff "$scratch/want" "$scratch/out" | head -n 10 >&2 || :
        tail -n 10 "$scratch/err" >&2
        fail "exit status $status, wanted $1; above, output (< wanted, > got), then errors"
    fi
}

# Checks that the run's errors, without the last line, are these lines.
check_errors() {
    printf '%s\n' "$@" >"$scratch/want_err"
    sed '$d' "$scratch/err" >"$scratch/got_err"
    diff "$scratch/want_err" "$scratch/got_err" >&2 || fail 'errors (< wanted, > got)'
}

# One number of the last line on stderr, once the whole line has the right form.
summary() { # files|bytes|threads
    line=$(tail -n 1 "$scratch/err")
    printf '%s\n' "$line" | grep -Eqx \
        'pythread-cksum: [0-9]+ files, [0-9]+ bytes, [0-9]+ threads, [0-9]+\.[0-9]{3} seconds' ||
        fail "the last line on stderr is '$line'"
    printf '%s\n' "$line" | sed "s/.* \([0-9]*\) $1,.*/\1/"
}

# A tree of some hundred files of many sizes. Its names are those that are easily sorted wrongly.
make_tree() {
    for directory in a a-b a/b 'a b' 0/1/2/3 z; do
        mkdir -p "$1/$directory"
        for number in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27; do
            head -c $((number * number * 97)) "$prog" >"$1/$directory/$number"
            echo "$directory" >"$1/$directory/$number.c"
        done
    done
}

# Runs a command as a user who is not root, and who has no other process.
unprivileged() {
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --reuid=$((1000000 + $$)) --regid=$((1000000 + $$)) --clear-groups -- "$@"
    else
        "$@"
    fi
}

needs_unprivileged() {
    umask 022
    chmod 755 "$scratch"
    if [ "$(id -u)" -eq 0 ]; then
        need setpriv
        unprivileged true 2>/dev/null || skip 'root cannot become another user here'
        unprivileged test -x "$prog" || skip "other users cannot reach $prog"
        unprivileged test -r . || skip "other users cannot reach $scratch"
    fi
    command=$prog
    prog=as_unprivileged
}

as_unprivileged() {
    unprivileged "$command" "$@"
}

# ---- cases ---------------------------------------------------------------------------------------

test_the_go_source_tree_has_the_sums_of_cksum() {
    need "$go"
    tree=$("$go" env GOROOT)/src
    [ -d "$tree" ] || skip "there is no $tree"
    want_tree "$tree"
    count=$(wc -l <"$scratch/want")
    bytes=$(awk '{ sum += $2 } END { print sum }' "$scratch/want")
    for kind in '' --pthreads; do
        run $kind "$tree"
        check 0
        same files "$(summary files)" "$count"
        same threads "$(summary threads)" "$count"
        same bytes "$(summary bytes)" "$bytes"
    done
}

test_files_of_any_size_have_the_sums_of_cksum() {
    : >empty.bytes
    for size in 1 2 3 4 5 6 7 8 9 15 16 17 31 32 33 255 256 257 4095 4096 4097 65535 65536 65537 \
        131071 131072 131073; do
        yes "$size" | head -c "$size" >"$size.bytes"
    done
    truncate -s 100M holes.bytes
    cat "$prog" >>holes.bytes
    truncate -s 300M holes.bytes
    want ./*.bytes
    run ./*.bytes
    check 0
}

test_names_with_spaces_newlines_and_worse() {
    mkdir -p 'tree/a directory'
    cd tree
    for name in ' ' 'a b' 'new
line' "$(printf 'tab\there')" "$(printf 'carriage\rreturn')" 'back\slash' "quote'\"" \
        "$(printf 'not-utf8-\377')" -n --pthreads '*' %s; do
        echo "$name" >"./$name"
        echo "$name" >"a directory/$name"
    done
    want -- ' ' 'a b' 'new
line' -n --pthreads '*' %s
    run -- ' ' 'a b' 'new
line' -n --pthreads '*' %s
    check 0
    want_tree .
    run .
    check 0
}

test_operands_keep_their_order_whichever_ends_first() {
    for name in 1 2 3 4 5 6 7 8; do
        echo $name >$name
    done
    truncate -s 50M 2 5
    want 8 2 1 5 3 2 7 6 4
    run 8 2 1 5 3 2 7 6 4
    check 0
}

test_a_walk_takes_regular_files_in_the_order_of_sorted_paths() {
    mkdir -p t/a t/a-b t/a.c.d t/b/a t/B t/empty elsewhere
    for name in a/x a-b/x a.c a.c.d/x ab a0 a+ b/a/x b/a.x b-a B/x; do
        echo "$name" >"t/$name"
    done
    echo elsewhere >elsewhere/file
    ln -s .. t/a/up
    ln -s ../elsewhere t/link_to_directory
    ln -s a/x t/link_to_file
    ln -s nothing t/link_to_nothing
    mkfifo t/fifo
    want_tree t
    run t
    check 0
    # The trailing slash belongs to the name, as find has it. An operand that is a link is followed.
    want_tree t/
    run t/
    check 0
    ln -s t link
    want_tree link
    run link
    check 0
}

test_any_number_of_jobs_gives_the_same_output() {
    make_tree tree
    want_tree tree
    for kind in '' --pthreads; do
        for jobs in 0 1 2 3 1000 1000000000; do
            run $kind --jobs $jobs tree
            check 0
            same threads "$(summary threads)" "$(wc -l <"$scratch/want")"
        done
    done
}

test_standard_input_is_read_once() {
    head -c 1000000 "$prog" >data
    cksum <data >"$scratch/want"
    run <data
    check 0
    cat data | { run; check 0; }
    want - - data - <data
    run - - data - <data
    check 0
    want data data
    run data - data <&-
    check 1
    check_errors 'pythread-cksum: standard input: Bad file descriptor'
}

test_what_cannot_be_read_is_told_and_the_rest_done() {
    echo 1 >1
    echo 2 >2
    ln -s nowhere dangling
    want 1 2
    for kind in '' --pthreads; do
        run $kind missing 1 dangling 1/below '' 2
        check 1
        check_errors 'pythread-cksum: missing: No such file or directory' \
            'pythread-cksum: dangling: No such file or directory' \
            'pythread-cksum: 1/below: Not a directory' \
            "pythread-cksum: '': No such file or directory"
        same files "$(summary files)" 2
    done
    want 1
    run 1 - <"$scratch"
    check 1
    check_errors 'pythread-cksum: standard input: Is a directory'
    needs_unprivileged
    mkdir tree tree/1 tree/2 tree/3
    for name in 1 2 3; do
        echo $name >tree/$name/file
    done
    want tree/3/file
    chmod 000 tree/1 # cannot be listed
    chmod 444 tree/2 # can be listed, and no more
    run tree
    chmod 755 tree/1 tree/2
    check 1
    check_errors 'pythread-cksum: tree/1: Permission denied' \
        'pythread-cksum: tree/2/file: Permission denied'
}

test_output_that_cannot_be_written_is_an_error() {
    [ -c /dev/full ] || skip 'there is no /dev/full'
    make_tree tree
    for operand in tree/a/1 tree; do
        status=0
        "$prog" "$operand" >/dev/full 2>"$scratch/err" || status=$?
        same 'exit status' "$status" 1
        grep -q '^pythread-cksum: write error: ' "$scratch/err" || fail 'no word of it'
    done
    run --trace=/no/such/file tree
    same 'exit status' "$status" 1
    grep -qx 'pythread-cksum: /no/such/file: No such file or directory' "$scratch/err"
}

usage() {
    run "$@"
    same "exit status of '$*'" "$status" 2
    [ ! -s "$scratch/out" ] || fail "'$*' has output"
    grep -q '^usage: pythread-cksum ' "$scratch/err" || fail "'$*' does not tell the usage"
}

test_bad_usage_exits_2_before_any_work() {
    echo 1 >file
    usage --help
    usage --nonsense file
    usage file --jobs=x
    for jobs in '' x -1 1x 99999999999999999999999; do
        usage --jobs "$jobs" file
    done
}

# A thread that waits to open a FIFO has a descriptor too, so that all of them are in use at once.
feed() {
    for fifo in fifos/*; do
        echo 1 >"$fifo"
    done
}

test_few_descriptors_are_enough() {
    make_tree tree
    want_tree tree
    mkdir fifos
    for number in 1 2 3 4 5 6 7; do
        mkfifo fifos/${number}1 fifos/${number}2 fifos/${number}3 fifos/${number}4 fifos/${number}5
    done
    for fifo in fifos/*; do
        echo "4219530715 2 $fifo"
    done | cat - "$scratch/want" >with_fifos
    mv with_fifos "$scratch/want"
    for limit in 64 20 12; do
        for options in '' '--jobs 1000' --pthreads; do
            meanwhile feed
            status=0
            (ulimit -n $limit && exec "$prog" $options fifos/* tree) \
                >"$scratch/out" 2>"$scratch/err" || status=$?
            check 0
            same threads "$(summary threads)" "$(wc -l <"$scratch/want")"
            wait
        done
    done
}

# Every file is done whether the program can have no thread at all, a few, or some more.
test_few_threads_are_enough() {
    need prlimit
    needs_unprivileged
    mkdir tree
    for name in 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20; do
        truncate -s 2M tree/$name
        echo $name >>tree/$name
    done
    want_tree tree
    if [ "$(id -u)" -eq 0 ]; then
        others=0
    else
        need ps
        others=$(ps -L -u "$(id -u)" -o lwp= | wc -l)
    fi
    # LeakSanitizer needs a process to look for leaks at the end.
    export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"
    program=$command
    command=prlimit
    run --nproc=$((others + 1)) "$program" --pthreads tree
    check 0
    if [ "$others" -eq 0 ] && [ "$(summary threads)" -ne 0 ]; then
        skip 'this kernel does not hold a process to its limit'
    fi
    for limit in 1 2 3 4 5 6 8 10 12 16 20 24 32 48; do
        for kind in '' --pthreads; do
            run --nproc=$((others + limit)) "$program" $kind tree
            check 0
            same files "$(summary files)" 20
        done
    done
}

test_a_trace_is_json_with_a_bar_for_each_thread() {
    need python3 --with-python
    make_tree tree
    want_tree tree
    run --trace=trace tree
    check 0
    python3 - trace >bars <<'END'
import json, sys

events = json.load(open(sys.argv[1]))
threads = [e for e in events if e["ph"] == "X" and e["name"].startswith("thread ")]
assert all(e["dur"] >= 0 and e["tid"] > 0 for e in threads), threads
assert {e["id"] for e in events if e["ph"] == "s"} == {e["id"] for e in events if e["ph"] == "f"}
print(len(threads))
END
    same bars "$(cat bars)" "$(summary threads)"
}

if [ "$1" != --list ]; then
    prog=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
    [ -x "$prog" ] || fail "there is no program $prog"
    shift
fi
main "$@"
