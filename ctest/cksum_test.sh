# cksum_test.sh - that pythread-cksum does what cksum does, and keeps doing it where files, threads
# or descriptors run out. The program under test comes before the case: cksum_test.sh PROG CASE.
. "$(dirname "$0")/test.sh"
export LC_ALL=C # the order and the messages of the tools

# ---- what the cases are made of ------------------------------------------------------------------

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

# ---- the same sums as cksum ----------------------------------------------------------------------

go_tree() {
    need "$go"
    tree=$("$go" env GOROOT)/src
    [ -d "$tree" ] || skip "there is no $tree"
    want_tree "$tree"
    run "$@" "$tree"
    check 0
    same files "$(summary files)" "$(wc -l <"$scratch/want")"
    same threads "$(summary threads)" "$(wc -l <"$scratch/want")"
}

test_go_source_tree_as_cksum() {
    go_tree
}

test_go_source_tree_on_pthreads_as_cksum() {
    go_tree --pthreads
}

test_empty_file() {
    : >empty
    want empty
    run empty
    check 0
    same bytes "$(summary bytes)" 0
}

test_large_file_with_holes() {
    truncate -s 100M large
    cat "$prog" >>large
    truncate -s 300M large
    echo end >>large
    want large
    run large
    check 0
    run --pthreads large
    check 0
}

test_sizes_around_words_and_buffers() {
    for size in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 31 32 33 255 256 257 4095 4096 4097 \
        32767 32768 32769 65535 65536 65537 131071 131072 131073; do
        yes "$size" | head -c "$size" >"$size.bytes"
    done
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

# ---- the order -----------------------------------------------------------------------------------

write_late() {
    sleep 0.2
    cat contents >slow
}

test_operands_keep_their_order_whichever_ends_first() {
    mkfifo slow
    echo 1 >first
    echo 2 >last
    printf slow >contents
    want last contents first last
    sed 's/contents/slow/' "$scratch/want" >want_fifo
    mv want_fifo "$scratch/want"
    # While one thread waits for slow to be written, the files behind it are done.
    meanwhile write_late
    run last slow first last
    check 0
}

test_walk_has_the_order_of_sorted_paths() {
    mkdir -p t/a t/a-b t/a.c.d t/b/a t/B
    for name in a/x a-b/x a.c a.c.d/x ab a0 a+ b/a/x b/a.x b-a B/x; do
        echo "$name" >"t/$name"
    done
    want_tree t
    run t
    check 0
    # The trailing slash belongs to the name, as find has it.
    want_tree t/
    run t/
    check 0
    cd t
    want_tree .
    run .
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

# With two jobs nobody opens the third FIFO while the first two are at work.
use_three() {
    exec 3>1 4>2
    (echo >3 && : >third_is_open) 3>&- 4>&- &
    sleep 0.3
    [ ! -e third_is_open ] || : >too_many
    exec 3>&- 4>&-
}

test_no_more_threads_at_a_time_than_jobs() {
    mkfifo 1 2 3
    printf '4294967295 0 1\n4294967295 0 2\n3515105045 1 3\n' >"$scratch/want"
    for kind in '' --pthreads; do
        rm -f third_is_open
        meanwhile use_three
        run $kind --jobs 2 1 2 3
        [ ! -e too_many ] || fail 'a third thread ran beside the two that were allowed'
        check 0
        wait
    done
}

# ---- what a directory stands for -----------------------------------------------------------------

test_walk_takes_regular_files_alone() {
    mkdir -p tree/in elsewhere
    echo in >tree/in/file
    echo elsewhere >elsewhere/file
    ln -s .. tree/in/up
    ln -s ../elsewhere tree/link_to_directory
    ln -s in/file tree/link_to_file
    ln -s nothing tree/link_to_nothing
    mkfifo tree/fifo
    want tree/in/file
    run tree
    check 0
}

test_operand_that_is_a_link_is_followed() {
    mkdir tree
    echo 1 >tree/file
    ln -s tree directory
    ln -s tree/file file
    want file directory/file
    run file directory
    check 0
}

test_empty_directory_prints_nothing() {
    mkdir empty
    : >"$scratch/want"
    run empty
    check 0
    same files "$(summary files)" 0
}

# ---- standard input ------------------------------------------------------------------------------

test_no_operand_reads_stdin() {
    head -c 100000 "$prog" >data
    cksum <data >"$scratch/want"
    run <data
    check 0
    cat data | { run; check 0; }
}

test_dash_reads_stdin() {
    head -c 100000 "$prog" >data
    want data - data <data
    run data - data <data
    check 0
}

test_second_dash_finds_stdin_at_its_end() {
    head -c 1000000 "$prog" >data
    want - - data - <data
    run - - data - <data
    check 0
    # A second reader at the same time would get some of these pieces.
    printf '1\n2\n3\n4\n5\n6\n' >pieces
    want - - <pieces
    for piece in 1 2 3 4 5 6; do
        echo $piece
        sleep 0.1
    done | { run - -; check 0; }
}

test_closed_stdin_is_an_error() {
    # Files are open while it is read, and none may have taken its number.
    truncate -s 20M file
    want file file file file file file file file
    run file file file file file file file file - <&-
    check 1
    check_errors 'pythread-cksum: standard input: Bad file descriptor'
}

# ---- what cannot be read -------------------------------------------------------------------------

test_names_that_lead_nowhere_are_told_and_the_rest_done() {
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
}

test_file_without_permission_is_told_and_the_rest_done() {
    needs_unprivileged
    mkdir tree
    for name in 1 2 3; do
        echo $name >tree/$name
    done
    want tree/1 tree/3 tree/1
    chmod 000 tree/2
    run tree tree/2 tree/1
    check 1
    check_errors 'pythread-cksum: tree/2: Permission denied' \
        'pythread-cksum: tree/2: Permission denied'
}

test_directory_without_permission_is_told_and_the_rest_done() {
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

# The walk has read the directory and waits for the FIFO when the file goes. A
# walk that was late does not know of the file: then once more, with more time.
vanish() {
    exec 3>fifo
    sleep "$pause"
    rm tree/2
}

test_file_that_vanishes_during_the_walk_is_told() {
    mkfifo fifo
    mkdir tree
    echo 1 >tree/1
    echo 3 >tree/3
    for pause in 0.1 0.2 0.4 0.8 1.6 3.2; do
        echo 2 >tree/2
        meanwhile vanish
        run --jobs 1 fifo tree
        echo '4294967295 0 fifo' >fifo_line
        cksum tree/1 tree/3 | cat fifo_line - >"$scratch/want"
        if [ "$status" -ne 0 ]; then
            check 1
            check_errors 'pythread-cksum: tree/2: No such file or directory'
            return
        fi
        check 0
    done
    fail 'the walk never read the directory while the FIFO was open'
}

test_read_error_is_told_and_the_rest_done() {
    [ -r /proc/self/mem ] || skip 'there is no /proc/self/mem, whose first page cannot be read'
    echo 1 >1
    want 1 1
    run 1 /proc/self/mem 1
    check 1
    check_errors 'pythread-cksum: /proc/self/mem: Input/output error'
    want 1
    run 1 - <"$scratch"
    check 1
    check_errors 'pythread-cksum: standard input: Is a directory'
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
}

# ---- options and the last line -------------------------------------------------------------------

usage() {
    run "$@"
    same "exit status of '$*'" "$status" 2
    [ ! -s "$scratch/out" ] || fail "'$*' has output"
    grep -q '^usage: pythread-cksum ' "$scratch/err" || fail "'$*' does not tell the usage"
}

test_bad_usage_exits_2_before_any_work() {
    echo 1 >file
    usage --jobs
    usage --nonsense file
    usage -x file
    usage file --jobs=x
    for jobs in '' x -1 +1 ' 1' 1x 1.5 99999999999999999999999; do
        usage --jobs "$jobs" file
    done
}

test_help_is_the_usage() {
    usage -h
    usage --help
}

test_double_dash_ends_the_options() {
    echo 1 >--help
    want -- --help
    run -- --help
    check 0
    run --pthreads --jobs 1 -- --help
    check 0
}

test_last_line_counts_files_bytes_and_threads() {
    make_tree tree
    want_tree tree
    bytes=$(awk '{ sum += $2 } END { print sum }' "$scratch/want")
    for kind in '' --pthreads; do
        run $kind tree
        check 0
        same 'lines on stderr' "$(wc -l <"$scratch/err")" 1
        same files "$(summary files)" "$(wc -l <"$scratch/want")"
        same threads "$(summary threads)" "$(wc -l <"$scratch/want")"
        same bytes "$(summary bytes)" "$bytes"
    done
}

test_progress_is_for_a_terminal_alone() {
    need script
    make_tree tree
    want_tree tree
    status=0
    script -qec "'$prog' tree >'$scratch/out'" /dev/null >"$scratch/err" </dev/null || status=$?
    check 0
    tr '\r' '\n' <"$scratch/err" | grep -Eq '^[0-9]+ files, [0-9]+ MB' || fail 'no progress'
    run tree
    check 0
    ! grep -q MB "$scratch/err" || fail 'progress in a file'
}

# ---- limits --------------------------------------------------------------------------------------

# Even a thread that waits to open a FIFO has a descriptor, so that all of them are in use at once.
feed_late() {
    sleep 0.3
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
            meanwhile feed_late
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

test_a_trace_that_cannot_be_written_is_told() {
    run --trace=/no/such/file tree
    same 'exit status' "$status" 1
    grep -qx 'pythread-cksum: /no/such/file: No such file or directory' "$scratch/err"
    echo 1 >f
    cksum f >"$scratch/want"
    run --trace=/dev/full f
    same 'exit status' "$status" 1
}

test_a_hundred_thousand_operands() {
    echo 1 >f
    yes "$(cksum f)" | head -n 100000 >"$scratch/want"
    set -- $(yes f | head -n 100000)
    run "$@"
    [ "$status" -ne 126 ] || skip 'the system does not take so long a command line'
    check 0
    same threads "$(summary threads)" 100000
}

if [ "$1" != --list ]; then
    prog=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
    [ -x "$prog" ] || fail "there is no program $prog"
    shift
fi
main "$@"
