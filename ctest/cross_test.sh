# cross_test.sh - the C files of capi compile without a warning for each processor for which Go makes
# shared libraries, and for Windows. A case is skipped if its cross compiler is missing.
. "$(dirname "$0")/test.sh"

# compiles COMPILER GOOS GOARCH
compiles() {
    need "$1" --with-cross
    export GOOS=$2 GOARCH=$3 CC=$1 CGO_ENABLED=1
    warnings "$1"
}

test_linux_386() {
    compiles i686-linux-gnu-gcc linux 386
}

test_linux_arm() {
    compiles arm-linux-gnueabihf-gcc linux arm
}

test_linux_arm64() {
    compiles aarch64-linux-gnu-gcc linux arm64
}

test_linux_ppc64le() {
    compiles powerpc64le-linux-gnu-gcc linux ppc64le
}

test_linux_riscv64() {
    compiles riscv64-linux-gnu-gcc linux riscv64
}

test_linux_s390x() {
    compiles s390x-linux-gnu-gcc linux s390x
}

test_windows_amd64() {
    compiles x86_64-w64-mingw32-gcc windows amd64
}

main "$@"
