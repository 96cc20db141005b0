# libpythread.so, built by the go command.

set(soname libpythread.so.${PROJECT_VERSION_MAJOR})
set(PYTHREAD_LIBRARY ${PROJECT_BINARY_DIR}/libpythread.so.${PROJECT_VERSION})
set(PYTHREAD_LINKS ${PROJECT_BINARY_DIR}/${soname} ${PROJECT_BINARY_DIR}/libpythread.so)

# The version script: the names that the header declares, and no others.
file(READ ${PYTHREAD_HEADER} declarations)
string(REGEX REPLACE "#[^\n]*" "" declarations "${declarations}")
string(REPLACE ";" "(" declarations "${declarations}")
string(REGEX MATCHALL "PYTHREAD_API[^(]*" names "${declarations}")
list(TRANSFORM names REPLACE ".*[ *]" "")
list(JOIN names "; " names)
file(CONFIGURE OUTPUT pythread.map CONTENT "{ global: @names@; local: *; };\n" @ONLY)

# Without asynchronous preemption Go sends no signals, which would interrupt the host's system
# calls; no loop of the library needs to be preempted. Without profiles of the runtime's own locks,
# which nobody asks it for, an OS thread of Go's takes 2 KiB less. Without a look at the limits of
# a container, which the library does not go by, Go keeps no file open in the host.
string(CONCAT ldflags
       "-X runtime.godebugDefault=asyncpreemptoff=1,profstackdepth=0,"
       "containermaxprocs=0,updatemaxprocs=0 $<$<CONFIG:Release,MinSizeRel>:-s -w> "
       "-extldflags \"-Wl,-soname,${soname} '-Wl,--version-script=${PROJECT_BINARY_DIR}/pythread.map'\"")

# The Go runtime would handle some signals, change the flags of the host's handlers, and unblock some
# signals on every OS thread that it comes to know, all by its table of signals. So the library is
# built with a table that asks for nothing; what is left to do about signals is in capi/signals.c.
execute_process(COMMAND ${PYTHREAD_GO} env GOROOT WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
                OUTPUT_VARIABLE goroot OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
set(table ${goroot}/src/runtime/sigtab_linux_generic.go)
file(READ ${table} contents)
string(REGEX REPLACE "{_Sig[A-Za-z+_ ]*, \"" "{0, \"" contents "${contents}")
if(NOT contents MATCHES "{0, \"SIGSEGV" OR contents MATCHES "_Sig")
    message(FATAL_ERROR "${table} is not as this build knows it")
endif()
# The underscore keeps it from `go vet ./...`, where build directories are in the sources.
file(CONFIGURE OUTPUT _sigtab.go CONTENT "${contents}" @ONLY)
file(CONFIGURE OUTPUT overlay.json
     CONTENT "{\"Replace\": {\"${table}\": \"${PROJECT_BINARY_DIR}/_sigtab.go\"}}" @ONLY)

# The go command is the one that knows when there is something to do, so it is asked at every build;
# with -v it names the packages that it compiles. Its result is taken over only when it differs, so
# that nothing is linked again for nothing.
if(CMAKE_GENERATOR MATCHES Ninja) # which shows the commands for want of a comment, and make neither
    set(comment COMMENT "go build libpythread.so")
endif()
add_custom_target(
    pythread_go ALL
    COMMAND ${PYTHREAD_GO} build -v -buildmode=c-shared -trimpath -buildvcs=false
            -overlay ${PROJECT_BINARY_DIR}/overlay.json
            $<$<STREQUAL:${PYTHREAD_SANITIZE},address>:-asan> -ldflags ${ldflags}
            -o ${PROJECT_BINARY_DIR}/go/libpythread.so ./capi
    COMMAND ${CMAKE_COMMAND} -E copy_if_different ${PROJECT_BINARY_DIR}/go/libpythread.so
            ${PYTHREAD_LIBRARY}
    BYPRODUCTS ${PYTHREAD_LIBRARY}
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
    ${comment}
    COMMAND_EXPAND_LISTS VERBATIM)
foreach(link IN LISTS PYTHREAD_LINKS)
    file(CREATE_LINK libpythread.so.${PROJECT_VERSION} ${link} SYMBOLIC)
endforeach()
