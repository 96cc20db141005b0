# symbols_test.sh - what the library exports is what the header declares.
. "$(dirname "$0")/test.sh"

# Finds the names in another way than the build does: in what the preprocessor leaves of the header
# itself, it takes each statement that is no type, and of that the name before the parameters.
declared() {
    echo '#include <pythread.h>' | "$CC" -E -I"$source_dir/include" -x c - | awk '
        /^# [0-9]+ "/ { ours = $3 ~ /\/pythread\.h"$/; next }
        ours { text = text " " $0 }
        END {
            gsub(/"[^"]*"/, "", text)
            gsub(/__attribute__ *\(\([a-z_]*(\( *\))?\)\)/, "", text)
            gsub(/{[^}]*}/, "", text)
            count = split(text, statements, ";")
            for (i = 1; i <= count; i++) {
                if (statements[i] !~ /typedef|^ *struct [A-Za-z_]*$|^ *$/) {
                    sub(/ *\(.*/, "", statements[i])
                    sub(/.*[ *]/, "", statements[i])
                    print statements[i]
                }
            }
        }' | sort
}

test_exports_are_what_the_header_declares() {
    declared >declared
    [ -s declared ] || fail "the header declares nothing"
    nm -D --defined-only "$PYTHREAD_LIBRARY" | awk '{ print $NF }' | sort >exported
    diff -u declared exported
}

main "$@"
