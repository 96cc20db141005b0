# install_test.sh - a project of its own (consumer/), in C and C++, finds and uses an installed copy that
# was moved to another place. Or the project includes the sources.
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
    run_consumer
}

test_find_package_takes_fitting_versions_alone() {
    installed
    version=$(sed -n 's/^Version: //p' "$config")
    major=${version%%.*} minor=${version#*.}
    minor=${minor%.*} next=$((major + 1))
    cat >CMakeLists.txt <<END
cmake_minimum_required(VERSION 3.25)
project(versions LANGUAGES NONE)
function(check version found)
    find_package(pythread \${version} QUIET CONFIG)
    if(NOT pythread_FOUND STREQUAL found)
        message(SEND_ERROR "find_package(pythread \${version}) of $version: \${pythread_FOUND}")
    endif()
    unset(pythread_DIR CACHE)
endfunction()
check("" 1)
check($version 1)
check($major.$minor 1)
check($major.$minor...<$next 1)
check($major.0...$major.$((minor + 1)) 1)
check($major.$((minor + 1)) 0)
check($major.$((minor + 1))...<$next 0)
check($major.0...<$version 0)
check($next 0)
check($next.0...<$((next + 1)) 0)
END
    "$CMAKE" -S . -B versions -DCMAKE_PREFIX_PATH="$scratch/moved"
}

# as_part GENERATOR COMMAND: the consumer builds the library, and nothing else, from its sources.
as_part() {
    "$CMAKE" -S "$here/consumer" -B consumer -G "$1" -DPYTHREAD_BY="$2" \
        -DPYTHREAD_SOURCES="$source_dir" -DCMAKE_BUILD_TYPE=RelWithDebInfo
    "$CMAKE" --build consumer
    run_consumer
    same "the parent's version" "$(sed -n 's/^CMAKE_PROJECT_VERSION:.*=//p' consumer/CMakeCache.txt)" 7.8
    same "the parent's BUILD_TESTING" "$(sed -n 's/^BUILD_TESTING:.*=//p' consumer/CMakeCache.txt)" ON
    (cd consumer && "${CMAKE%cmake}ctest" -N) >tests
    grep -q '^Total Tests: 0$' tests || fail "$(cat tests)"
    "$CMAKE" --install consumer --prefix "$scratch/parent"
    same "what the parent installs" "$(cd parent && find . -type f)" ./bin/consumer_c
}

test_add_subdirectory() {
    as_part "Unix Makefiles" add_subdirectory
}

test_fetch_content() {
    need ninja --with-tools
    as_part Ninja FetchContent
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

test_pkg_config_static() {
    need pkg-config ""
    has_static
    installed
    "$CC" -static "$here/consumer/consumer.c" $(pkg-config --static --cflags --libs pythread) \
        -o whole
    ! readelf -d whole | grep NEEDED || fail "the program needs shared libraries"
    ./whole
    # Without a shared library, the same line uses the static one.
    rm "$libdir"/libpythread.so*
    "$CC" "$here/consumer/consumer.c" $(pkg-config --static --cflags --libs pythread) -o library
    ./library
}

test_lays_down_these_files_alone() {
    installed
    (cd moved && find . -type f -o -type l) | sed 's/^\.\///' | sort >found
    lib=${libdir#"$scratch/moved/"}
    version=$(sed -n 's/^Version: //p' "$config")
    static=
    [ ! -f "$static_library" ] || static=$lib/libpythread.a
    sort >expected <<END
bin/pythread-run
include/pylock.h
include/pythread.h
$static
$lib/cmake/pythread/pythread-config-version.cmake
$lib/cmake/pythread/pythread-config.cmake
$lib/libpythread.so
$lib/libpythread.so.${version%%.*}
$lib/libpythread.so.$version
$lib/pkgconfig/pythread.pc
$lib/pythread/libpythread-preload.so
END
    sed -i '/^$/d' expected
    diff -u expected found
    same "the library's name for the linker" "$(readlink "$libdir/libpythread.so")" \
        "libpythread.so.$version"
}

main "$@"
