# expect_failure.sh REASON COMMAND... - runs a case of expected_failures.txt. It exits 0 if the command
# fails, 1 if it succeeds, and 77 if it is skipped. If the command could not run, it exits with the
# shell's status.
reason=$1
shift
status=0
"$@" || status=$?
case $status in
0)
    echo "It passes now: remove its line from ctest/expected_failures.txt ($reason)" >&2
    exit 1
    ;;
77 | 126 | 127) exit $status ;;
*) echo "It failed with $status, as expected: $reason" ;;
esac
