# version_test.sh - everything that has a version has the one in the header.
. "$(dirname "$0")/test.sh"

version=$(printf '#include <pythread.h>\nPYTHREAD_VERSION_MAJOR PYTHREAD_VERSION_MINOR %s\n' \
    PYTHREAD_VERSION_PATCH | "$CC" -E -P -I"$source_dir/include" -x c - | tail -n 1 | tr ' ' .)

test_library_says_the_version_of_the_header() {
    cat >version.c <<END
#include <pythread.h>
#include <stdio.h>
int main(void)
{
    return puts(pythread_version()) < 0;
}
END
    "$CC" -I"$source_dir/include" version.c "$PYTHREAD_LIBRARY" -Wl,-rpath,"$binary_dir" -o version
    same pythread_version "$(./version)" "$version"
}

test_soname_has_the_major_version() {
    soname=$(readelf -d "$PYTHREAD_LIBRARY" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
    same SONAME "$soname" "libpythread.so.${version%%.*}"
    same "what $soname is" "$(readlink -f "$binary_dir/$soname")" \
        "$(readlink -f "$binary_dir/libpythread.so.$version")"
}

test_pkg_config_has_the_version() {
    same pythread.pc "$(sed -n 's/^Version: //p' "$binary_dir/package/pythread.pc")" "$version"
}

test_cmake_package_has_the_version() {
    cat >version.cmake <<END
include($binary_dir/package/pythread-config-version.cmake)
message(\${PACKAGE_VERSION})
END
    same "CMake package" "$("$CMAKE" -P version.cmake 2>&1)" "$version"
}

test_changelog_begins_with_the_version() {
    same CHANGELOG.md "$(sed -n 's/^## \([0-9.]*\).*/\1/p' "$source_dir/CHANGELOG.md" | head -n 1)" \
        "$version"
}

main "$@"
