# demo.sh PROGRAM DIRECTORY OUTPUT - the checksums of the files below a directory by pythread-cksum, a
# thread for each file, are those that cksum gives, in the same order.
set -eu
"$1" "$2" >"$3"
find -H "$2" -type f -print0 | LC_ALL=C sort -z | xargs -0 cksum | cmp - "$3"
echo "pythread-cksum and cksum agree: $(wc -l <"$3") checksums, in $3"
