# package_test.sh - the preset package makes packages in which lintian finds no error. They are installed,
# used and removed in a directory that is a system of its own.
. "$(dirname "$0")/test.sh"

# The first case makes the packages that are not made yet.
packages=$binary_dir/packages
needs_packages() {
    need file --with-tools
    need doxygen --with-tools
    need dpkg-deb ""
    need pkg-config ""
}

test_preset_makes_packages() {
    needs_packages
    "$CMAKE" -S "$source_dir" -B "$packages" -DCMAKE_INSTALL_PREFIX=/usr \
        -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF -DPYTHREAD_DOCS=ON
    "$CMAKE" --build "$packages"
    rm -f "$packages"/*.deb "$packages"/*.tar.gz
    (cd "$packages" && "${CMAKE%cmake}cpack")
    ls "$packages"/libpythread0_*.deb "$packages"/libpythread-dev_*.deb "$packages"/pythread-*.tar.gz
}

test_lintian_finds_no_error() {
    needs_packages
    need lintian --with-tools
    allow=
    [ "$(id -u)" != 0 ] || allow=--allow-root
    lintian $allow --fail-on error "$packages"/*.deb
}

# The PATH of a user may lack the programs that dpkg runs.
PATH=$PATH:/usr/sbin:/sbin

# as_root COMMAND...: runs a command as a user that may install packages.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        unshare --map-root-user "$@"
    fi
}

# system_has FILE...: copies programs and their libraries into the directory system.
system_has() {
    for file in "$@" $(ldd "$@" 2>/dev/null | grep -o '/[^ ]*[^: ]'); do
        mkdir -p "system/$(dirname "$file")"
        cp -L "$file" "system/$file"
    done
}

# use PREFIX: builds programs with what is installed there, by pkg-config and by CMake.
use() {
    PKG_CONFIG_PATH=$(dirname "$(find "$1" -name pythread.pc)")
    export PKG_CONFIG_PATH
    "$CC" "$here/consumer/consumer.c" $(pkg-config --cflags --libs pythread) -o consumer_c
    "$CMAKE" -S "$here/consumer" -B consumer -DCMAKE_PREFIX_PATH="$1"
    "$CMAKE" --build consumer
    run_consumer
    same "pythread-run" "$("$1/bin/pythread-run" consumer/consumer_c)" "$(consumer/consumer_c)"
}

test_packages_are_installed_used_and_removed() {
    needs_packages
    as_root true || skip "neither root nor a user who may play it"
    # dpkg finds the packages that ours depend on, and their scripts find a shell and ldconfig.
    mkdir -p system/var/lib/dpkg/updates system/var/lib/dpkg/info system/etc
    dpkg-query -s libc6 libc6-dev >system/var/lib/dpkg/status
    system_has /bin/sh /sbin/ldconfig
    dpkg="dpkg --root=$scratch/system --log=$scratch/log"
    if as_root $dpkg --install "$packages"/libpythread-dev_*.deb; then
        fail "libpythread-dev is content without the library"
    fi
    as_root $dpkg --install "$packages"/*.deb
    use "$scratch/system/usr"
    gzip -cd system/usr/share/man/man3/PyThread_join_thread.3.gz | grep -q '^\.SH "\{0,1\}NAME'

    # A program needs only the library to run.
    as_root $dpkg --remove libpythread-dev
    system_has "$scratch/consumer_c"
    as_root chroot system "$scratch/consumer_c"
    as_root $dpkg --remove libpythread0
    rm "system/$scratch/consumer_c"
    same "what is left" "$(find system -name '*pythread*' ! -path 'system/var/*')" ""
}

test_tarball_is_unpacked_and_used() {
    needs_packages
    tar -xzf "$packages"/pythread-*.tar.gz
    use "$(echo "$scratch"/pythread-*)"
}

main "$@"
