# build_test.sh - a build rebuilds what has changed, and nothing else. It uses a copy of the sources, in
# a directory whose name has a space.
. "$(dirname "$0")/test.sh"

# build GENERATOR: the first, whole build.
build() {
    tree="$scratch/a copy"
    mkdir "$tree"
    for part in CHANGELOG.md CMakeLists.txt LICENSE cmake go.mod include internal capi pythread examples; do
        cp -R "$source_dir/$part" "$tree"
    done
    library="$tree/build/libpythread.so"
    "$CMAKE" -S "$tree" -B "$tree/build" -G "$1" -DBUILD_TESTING=OFF >/dev/null
    "$CMAKE" --build "$tree/build" >/dev/null
}

outputs() {
    find "$tree/build" -type f '(' -name 'libpythread.so.?*' -o -name '*.a' -o -name pythread-cksum ')' \
        -exec stat -c '%n %y' {} +
}

idle_build_does_nothing() {
    build "$1"
    outputs >before
    "$CMAKE" --build "$tree/build" >log 2>&1
    outputs | diff before -
    # make and ninja always print these lines.
    sed -i -E '/^\[.*\] (Built target .*|Re-checking globbed.*|go build libpythread\.so)$/d' log
    same "what the idle build says" "$(cat log)" ""
}

test_idle_build_by_make_does_nothing() {
    need make ""
    idle_build_does_nothing "Unix Makefiles"
}

test_idle_build_by_ninja_does_nothing() {
    need ninja --with-tools
    idle_build_does_nothing Ninja
}

# change FILE SCRIPT MARK: after sed SCRIPT on FILE, a build has to bring MARK into the library.
change() {
    ! grep -q "$3" "$library" || fail "$3 is in the library already"
    sed -i "$2" "$tree/$1"
    echo "$3" >>marks
}

test_change_of_any_source_rebuilds() {
    build "Unix Makefiles"
    change include/pythread.h 's/^#define PYTHREAD_VERSION_PATCH .*/&00071/' '[.][0-9]*00071'
    change capi/internal/system/os_linux.c '$a const char pythread_mark[] = "a changed C file";' \
        'a changed C file'
    change capi/internal/system/os.h '$i __attribute__((used)) static char os_mark[] = "a changed header";' \
        'a changed header'
    change capi/libpythread/main.go '$a var mark any; func init() { mark = "a changed Go file of capi" }' \
        'a changed Go file of capi'
    change pythread/thread.go '$a var mark any; func init() { mark = "a changed core" }' 'a changed core'
    "$CMAKE" --build "$tree/build" >/dev/null
    while read -r mark; do
        grep -q "$mark" "$library" || fail "the library is without $mark"
    done <marks
}

main "$@"
