# wine.sh COMMAND... - runs a command with its output in a file, and then prints that. The first
# command that Wine runs leaves services behind: they hold what it writes to for as long as they run,
# and ctest waits for the end of a pipe.
output=$(mktemp)
"$@" </dev/null >"$output" 2>&1
status=$?
cat "$output"
rm "$output"
exit $status
