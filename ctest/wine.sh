# wine.sh COMMAND... - runs a command with its output in a file, and then prints the file. The first
# command that Wine runs leaves services running, which keep its output open. With a pipe, ctest would
# wait for them.
output=$(mktemp)
"$@" </dev/null >"$output" 2>&1
status=$?
cat "$output"
rm "$output"
exit $status
