# install_test.sh - an installed copy, moved to another place, is found and used by a project of its
# own (consumer/), in C and C++.
. "$(dirname "$0")/test.sh"

installed() {
    "$CMAKE" --install "$binary_dir" --prefix "$scratch/first" >/dev/null
    mv first moved
    config=$(find "$scratch/moved" -name pythread.pc)
    PKG_CONFIG_PATH=$(dirname "$config")
    libdir=$(dirname "$PKG_CONFIG_PATH")
    export PKG_CONFIG_PATH
}

test_find_package() {
    installed
    version=$(sed -n 's/^Version: //p' "$config")
    "$CMAKE" -S "$here/consumer" -B consumer -DCMAKE_PREFIX_PATH="$scratch/moved" \
        -DPYTHREAD_VERSION="$version"
    "$CMAKE" --build consumer
    consumer/consumer_c
    consumer/consumer_cxx
}

test_find_package_refuses_another_major_version() {
    installed
    version=$(sed -n 's/^Version: //p' "$config")
    if "$CMAKE" -S "$here/consumer" -B consumer -DCMAKE_PREFIX_PATH="$scratch/moved" \
        -DPYTHREAD_VERSION="$((${version%%.*} + 1)).0" >log 2>&1; then
        fail "found version $version"
    fi
    grep "version: $version" log
}

test_pkg_config() {
    need pkg-config ""
    installed
    export LD_LIBRARY_PATH="$libdir"
    "$CC" "$here/consumer/consumer.c" $(pkg-config --cflags --libs pythread) -o consumer_c
    "$CXX" "$here/consumer/consumer.cpp" $(pkg-config --cflags --libs pythread) -o consumer_cxx
    ./consumer_c
    ./consumer_cxx
}

test_lays_down_these_files_alone() {
    installed
    (cd moved && find . -type f -o -type l) | sed 's/^\.\///' | sort >found
    lib=${libdir#"$scratch/moved/"}
    version=$(sed -n 's/^Version: //p' "$config")
    sort >expected <<END
bin/pythread-run
include/pythread.h
$lib/cmake/pythread/pythread-config-version.cmake
$lib/cmake/pythread/pythread-config.cmake
$lib/libpythread-preload.so
$lib/libpythread.so
$lib/libpythread.so.${version%%.*}
$lib/libpythread.so.$version
$lib/pkgconfig/pythread.pc
END
    diff -u expected found
    same "the library's name for the linker" "$(readlink "$libdir/libpythread.so")" \
        "libpythread.so.$version"
}

main "$@"
