# symbols_test.sh - what the library exports is what the headers declare.
. "$(dirname "$0")/test.sh"

# Finds the names in another way than the build does: in what the preprocessor leaves of the headers
# themselves, it takes each statement that is neither a type nor inline nor extern void, as functions of
# a Python are, and of that the name before the parameters.
declared() {
    echo '#include <pylock.h>' | "$CC" -E -I"$source_dir/include" -x c - | awk '
        /^# [0-9]+ "/ { ours = $3 ~ /\/py(thread|lock)\.h"$/; next }
        ours { text = text " " $0 }
        END {
            gsub(/"[^"]*"/, "", text)
            gsub(/__attribute__ *\(\([a-z_]*(\( *\))?\)\)/, "", text)
            while (gsub(/\) *{[^{}]*}/, ");", text)) # the bodies of inline functions
                ;
            gsub(/{[^}]*}/, "", text)
            count = split(text, statements, ";")
            for (i = 1; i <= count; i++) {
                if (statements[i] !~ /typedef|static inline|^ *extern void |^ *struct [A-Za-z_]*$|^ *$/) {
                    sub(/ *\(.*/, "", statements[i])
                    sub(/.*[ *]/, "", statements[i])
                    print statements[i]
                }
            }
        }' | sort
}

version=$(sed -n 's/^#define PYTHREAD_VERSION_MAJOR //p' "$source_dir/include/pythread.h")

test_exports_are_what_the_header_declares() {
    declared >declared
    [ -s declared ] || fail "the header declares nothing"
    # Absolute symbols are version nodes.
    nm -D --defined-only --without-symbol-versions "$PYTHREAD_LIBRARY" |
        awk '$(NF - 1) != "A" { print $NF }' | sort >exported
    diff -u declared exported
}

test_each_export_has_the_version_of_the_library() {
    declared | sed "s/\$/@@PYTHREAD_$version/" >declared
    nm -D --defined-only "$PYTHREAD_LIBRARY" | awk '$(NF - 1) != "A" { print $NF }' | sort >exported
    diff -u declared exported
}

test_global_names_of_the_static_library_are_what_the_header_declares() {
    has_static
    declared >declared
    nm -g --defined-only "$static_library" | awk 'NF == 3 { print $3 }' | sort >global
    diff -u declared global
}

# Another library with the same name is the library before it had symbol versions.
test_programs_linked_before_there_were_versions_run() {
    declared | sed 's/.*/char &;/' | "$CC" -x c -shared -w -fno-builtin \
        -Wl,-soname,libpythread.so."$version" -o libpythread.so -
    "$CC" -I"$source_dir/include" "$here/consumer/consumer.c" ./libpythread.so -o consumer
    objdump -T consumer | grep PyThread_join_thread >needed
    ! grep PYTHREAD_ needed || fail "the program is linked to a version"
    LD_LIBRARY_PATH=$binary_dir ./consumer 2>errors
    same "what the loader says" "$(cat errors)" ""
}

main "$@"
