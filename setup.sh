#!/bin/sh
# setup.sh - installs, on Debian and Ubuntu, the packages that the build needs and that are missing.
#
#   ./setup.sh                 for the library, the demo and the tests
#   ./setup.sh --with-python   also for the tests with a Python interpreter
#   ./setup.sh --with-tools    also the tools of the tests: spin, clang, clang-format, ninja,
#                              lintian, abidiff, strace; doxygen and man for the documentation
#   ./setup.sh --with-bench    also for the benchmarks: nsync, which they measure, and gnuplot
#   ./setup.sh --with-cross    also for the presets arm64 and windows, and the C compilers for the other
#                              processors for which Go makes shared libraries
#
# It does not install Go, because the Go of most distributions is too old.
set -eu
cd "$(dirname "$0")"

die() {
    echo "setup.sh: $*" >&2
    exit 1
}

# older A B: true if version A comes before version B.
older() {
    [ "$1" != "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

has() {
    command -v "$1" >/dev/null
}

cmake_wanted=3.25
cmake_version() {
    cmake --version 2>/dev/null | sed -n 's/^cmake version //p'
}
no_cmake() {
    older "$(cmake_version)" "$cmake_wanted"
}

python=false tools=false bench=false cross=false
for option; do
    case $option in
    --with-python) python=true ;;
    --with-tools) tools=true ;;
    --with-bench) bench=true ;;
    --with-cross) cross=true ;;
    *) die "unknown option $option; the options are --with-python, --with-tools, --with-bench, --with-cross" ;;
    esac
done

PATH=$PATH:/usr/local/go/bin
go_wanted=$(sed -n 's/^go //p' go.mod)
has go || die "Go is missing: install Go $go_wanted or newer from https://go.dev/dl/ and put it on the PATH"
go_version=$(cd / && GOTOOLCHAIN=local go env GOVERSION)
go_version=${go_version#go}
if older "$go_version" "$go_wanted"; then
    die "Go $go_version is too old: install Go $go_wanted or newer from https://go.dev/dl/"
fi

missing=
if no_cmake; then missing="$missing cmake"; fi
if ! has cc || ! has c++ || ! has make; then missing="$missing build-essential"; fi
if ! has pkg-config; then missing="$missing pkg-config"; fi
if $python && ! pkg-config --exists python3-embed 2>/dev/null; then
    missing="$missing python3-dev"
fi
if $tools; then
    for tool in spin clang clang-format lintian doxygen strace; do
        has $tool || missing="$missing $tool"
    done
    has abidiff || missing="$missing abigail-tools"
    has ninja || missing="$missing ninja-build"
    has man || missing="$missing man-db"
fi
if $bench; then
    has gnuplot || missing="$missing gnuplot-nox"
    [ -f /usr/include/nsync_mu.h ] || missing="$missing libnsync-dev"
fi
if $cross; then
    has x86_64-w64-mingw32-gcc || missing="$missing gcc-mingw-w64-x86-64"
    has wine && [ -d /usr/lib/wine ] || missing="$missing wine wine64"
    has qemu-aarch64 || missing="$missing qemu-user"
    for processor in i686:i386 arm:armhf aarch64:arm64 powerpc64le:ppc64el riscv64:riscv64 \
        s390x:s390x; do
        compiler=${processor%:*}-linux-gnu
        [ $compiler != arm-linux-gnu ] || compiler=arm-linux-gnueabihf
        [ "$(uname -m)" != "${processor%:*}" ] || continue
        has $compiler-gcc && [ -d /usr/$compiler/include ] ||
            missing="$missing gcc-$compiler libc6-dev-${processor#*:}-cross"
    done
fi

if [ -z "$missing" ]; then
    echo "setup.sh: nothing to install (Go $go_version, CMake $(cmake_version))"
    exit
fi
has apt-get || die "apt-get is missing, which installs packages; please install:$missing"
sudo=
if [ "$(id -u)" != 0 ]; then
    has sudo || die "this needs root or sudo to install packages; please install:$missing"
    sudo=sudo
fi

echo "setup.sh: installing$missing"
# Three tries, because the network may fail for a moment.
for pause in 5 15 0; do
    if $sudo apt-get update -q; then break; fi
    sleep $pause
done
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing

if no_cmake; then
    die "CMake $(cmake_version) of this distribution is too old: install CMake $cmake_wanted or newer" \
        "from https://cmake.org/download/"
fi
echo "setup.sh: installed$missing"
