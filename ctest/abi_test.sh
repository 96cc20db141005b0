# abi_test.sh - programs that were built with the last release run with this library. It has the names,
# types and layouts of abi.xml, and may have new ones. After a release the target abi writes that file:
#
#   cmake --build --preset test --target abi
. "$(dirname "$0")/test.sh"

# Prints the public part of a library that was compiled with -g.
write_abi() {
    abidw --headers-dir "$source_dir/include" --drop-private-types --exported-interfaces-only \
        --drop-undefined-syms --no-architecture --no-comp-dir-path --no-corpus-path --no-show-locs \
        --out-file "$1" "$PYTHREAD_LIBRARY"
    sed -i "/<elf-needed>/,/<\/elf-needed>/d" "$1"
}

if [ "$1" = --renew ]; then
    write_abi "$here/abi.xml"
    exit
fi

can_compare() {
    need abidiff --with-tools
    case $(uname -m) in
    x86_64 | aarch64) ;;
    *) skip "abi.xml is that of 64-bit processors with the types of x86_64" ;;
    esac
    readelf -S "$PYTHREAD_LIBRARY" | grep -q '\.debug_info' || skip "this build is without -g"
}

# compare FILE: prints what this library lacks of FILE, or has differently. False if there is any.
compare() {
    write_abi library.xml
    abidiff --no-added-syms "$1" library.xml
}

test_library_has_what_the_last_release_had() {
    can_compare
    compare "$here/abi.xml"
}

# finds SCRIPT WORDS: changes abi.xml by sed SCRIPT, and checks that the comparison then prints WORDS.
finds() {
    can_compare
    sed "$1" "$here/abi.xml" >other.xml
    ! cmp -s "$here/abi.xml" other.xml || fail "$1 changes nothing"
    if compare other.xml >found; then
        fail "$1: not found"
    fi
    cat found
    grep -q "$2" found || fail "$1: the difference is not told"
}

test_a_removed_name_is_found() {
    finds 's/PyThread_tss_alloc/PyThread_tss_removed/' 'PyThread_tss_removed'
}

test_another_version_of_names_is_found() {
    finds 's/PYTHREAD_0/PYTHREAD_9/' 'PyThread_join_thread@@PYTHREAD_9'
}

test_another_type_is_found() {
    finds "s/\(name='unsigned long long int' size-in-bits\)='64'/\1='32'/" \
        "in pointed to type 'typedef PyThread_ident_t'"
}

test_another_layout_is_found() {
    finds "s/\(layout-offset-in-bits\)='192'/\1='256'/" "'size_t goroutines' offset changed"
}

test_another_value_of_an_enumerator_is_found() {
    finds "s/\(name='PY_LOCK_INTR' value\)='2'/\1='3'/" PY_LOCK_INTR
}

main "$@"
