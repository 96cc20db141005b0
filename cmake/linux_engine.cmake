# What the build of the Linux engine adds: a Go that it knows, and a Go runtime in it that leaves the
# host's signals alone.

# The engine changes what the Go runtime does in ways that Go does not promise (this file, --wrap in
# main.go, carrier.c), so it is built only with the Go versions that its tests were run with.
execute_process(COMMAND ${PYTHREAD_GO} env GOROOT GOVERSION WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
                OUTPUT_VARIABLE go_env OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCH "^([^\n]*)\n(.*)$" go_env "${go_env}")
set(goroot ${CMAKE_MATCH_1})
set(go_version ${CMAKE_MATCH_2})
if(NOT go_version MATCHES "^go1\\.2[4-7](\\.|$)")
    message(FATAL_ERROR "The Linux engine knows Go 1.24 to 1.27, and this is ${go_version}.")
endif()

# The build stays with the toolchain that was found here, whose go command is called by its path. A
# toolchain that Go downloaded stands in Go's module cache, where an overlay may not replace a file
# (golang/go#78644): so the module cache is another. It stays empty, since the library needs no module.
list(POP_BACK PYTHREAD_GO)
list(APPEND PYTHREAD_GO GOTOOLCHAIN=local GOMODCACHE=${PROJECT_BINARY_DIR}/go/mod ${goroot}/bin/go)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${goroot}/VERSION)

# Without asynchronous preemption Go sends no signals, which would interrupt the host's system
# calls; no loop of the library needs preemption. Without profiles of the runtime's own locks, for
# which nobody asks, an OS thread of Go's takes 2 KiB less. Without the limits of a container, which
# the library does not use, Go keeps no file open in the host. A Go ignores names that it does not
# know: the last two came with 1.25.
string(PREPEND go_ldflags "-X runtime.godebugDefault=asyncpreemptoff=1,profstackdepth=0,"
       "containermaxprocs=0,updatemaxprocs=0 ")

# By its table of signals the Go runtime would handle some signals, change the flags of the host's
# handlers, and unblock some signals on every OS thread that it comes to know. So the library is built
# with a table that asks for nothing. What is left to do about signals is in capi/linux/signals.c.
set(table ${goroot}/src/runtime/sigtab_linux_generic.go)
file(READ ${table} contents)
string(REGEX REPLACE "{_Sig[A-Za-z+_ ]*, \"" "{0, \"" contents "${contents}")
if(NOT contents MATCHES "{0, \"SIGSEGV" OR contents MATCHES "_Sig")
    message(FATAL_ERROR "${table} is not as the Linux engine knows it.")
endif()
# The underscore hides the file from `go vet ./...`, where build directories are in the sources.
file(CONFIGURE OUTPUT _sigtab.go CONTENT "${contents}" @ONLY)
file(CONFIGURE OUTPUT overlay.json
     CONTENT "{\"Replace\": {\"${table}\": \"${PROJECT_BINARY_DIR}/_sigtab.go\"}}" @ONLY)
set(engine_flags -overlay ${PROJECT_BINARY_DIR}/overlay.json)
