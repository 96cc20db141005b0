# What the build of the Linux engine adds: a Go runtime that leaves the host's signals alone.

# Without asynchronous preemption Go sends no signals, which would interrupt the host's system
# calls; no loop of the library needs to be preempted. Without profiles of the runtime's own locks,
# which nobody asks it for, an OS thread of Go's takes 2 KiB less. Without a look at the limits of
# a container, which the library does not go by, Go keeps no file open in the host.
string(PREPEND ldflags "-X runtime.godebugDefault=asyncpreemptoff=1,profstackdepth=0,"
       "containermaxprocs=0,updatemaxprocs=0 ")

# The Go runtime would handle some signals, change the flags of the host's handlers, and unblock some
# signals on every OS thread that it comes to know, all by its table of signals. So the library is
# built with a table that asks for nothing; what is left to do about signals is in capi/linux/signals.c.
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
set(engine_flags -overlay ${PROJECT_BINARY_DIR}/overlay.json)
