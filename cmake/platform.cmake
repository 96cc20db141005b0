# Checks that the Go runtime loads as a shared library on the target system, and finds the go command.
# Sets PYTHREAD_GO: the go command with the compiler and flags of this build, and without the settings
# for Go in the caller's environment.
include(CheckSymbolExists)

string(TOLOWER ${CMAKE_SYSTEM_NAME} goos)
set(goarch "")
foreach(known IN ITEMS "amd64=x86_64|amd64|AMD64" "arm64=aarch64|arm64|ARM64" "386=i[3-6]86" "arm=arm.*"
                       "ppc64le=ppc64le" "riscv64=riscv64" "s390x=s390x" "loong64=loongarch64")
    string(REGEX MATCH "^([^=]*)=(.*)$" known "${known}")
    if(NOT goarch AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(${CMAKE_MATCH_2})$")
        string(REGEX REPLACE "=.*" "" goarch "${known}")
    endif()
endforeach()
if(goos STREQUAL "linux")
    check_symbol_exists(__GLIBC__ features.h PYTHREAD_HAVE_GLIBC)
endif()
if(NOT goarch OR NOT goos MATCHES "^(linux|windows|freebsd)$" OR
   (goos STREQUAL "linux" AND NOT PYTHREAD_HAVE_GLIBC))
    message(FATAL_ERROR
            "libpythread builds for Linux with glibc, Windows and FreeBSD. On this system the Go runtime "
            "does not load as a shared library, or only go build can make one. The Go package pythread "
            "builds on every system.")
endif()

# The go command does not see headers outside a package's folder: the public ones, and those of capi/
# that capi/libpythread includes. A hash of these files in the flags makes the go command build again
# when one changes.
file(GLOB_RECURSE included CONFIGURE_DEPENDS ${PYTHREAD_HEADERS} capi/*.h capi/internal/*.h)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${included})
set(hash "")
foreach(file IN LISTS included)
    file(SHA256 ${file} file_hash)
    string(APPEND hash ${file_hash})
endforeach()
string(SHA256 hash "${hash}")
string(TOUPPER "CMAKE_C_FLAGS_${CMAKE_BUILD_TYPE}" flags)
set(cflags "${CMAKE_C_FLAGS} ${${flags}} -DPYTHREAD_INCLUDED=${hash}")
# The go command compiles the C code of Go and of cgo with these flags too. Go's C code makes warnings
# errors, and cgo's has warnings. So warnings are off here.
string(APPEND cflags " -w")
set(ldflags "${CMAKE_SHARED_LINKER_FLAGS}")

if(PYTHREAD_SANITIZE STREQUAL "address")
    set(sanitize -fsanitize=address,undefined -fno-sanitize-recover=undefined)
    # go build -asan adds AddressSanitizer.
    string(APPEND cflags " -fsanitize=undefined -fno-sanitize-recover=undefined")
    string(APPEND ldflags " -fsanitize=undefined")
elseif(PYTHREAD_SANITIZE STREQUAL "thread")
    set(sanitize -fsanitize=thread)
endif()
add_compile_options(${sanitize})
add_link_options(${sanitize})

find_program(GO_EXECUTABLE go HINTS /usr/local/go/bin REQUIRED)
set(PYTHREAD_GO
    ${CMAKE_COMMAND} -E env GOFLAGS= GOWORK=off GOOS=${goos} GOARCH=${goarch} CGO_ENABLED=1
    CC=${CMAKE_C_COMPILER} CGO_CPPFLAGS= CGO_CFLAGS=${cflags} CGO_LDFLAGS=${ldflags}
    ${GO_EXECUTABLE})
