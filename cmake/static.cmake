# The static library, libpythread.a: what the go command makes as an archive, linked into one object
# in which only the header's names are global. So a program that links it may have any other names,
# and is linked without a flag of ours: the --wrap options that the package asks for have been applied.
#
# Go's constructor asks for its first OS thread, which waits for the first thread. Constructors of the
# program would run before the default ones of an archive. So the library's get a priority, after those
# of its own that have one: the program's find the library ready, as they find a shared one.

set(PYTHREAD_STATIC_LIBRARY ${PROJECT_BINARY_DIR}/libpythread.a)

# The real functions behind the wrapped ones are weak in the sources, and a static C library has only
# what something needs: these needs are strong.
file(STRINGS ${go_package}/main.go wraps REGEX "^// #cgo .*--wrap=")
string(REGEX MATCHALL "-Wl,--wrap=[a-z_]+" wraps "${wraps}")
string(REPLACE "-Wl,--wrap=" "__real_" needs "${wraps}")
set(lines "")
foreach(need IN LISTS needs)
    string(APPEND lines "extern char ${need};\nchar *const pythread_needs_${need} = &${need};\n")
endforeach()
file(CONFIGURE OUTPUT static/needs.c CONTENT "${lines}" @ONLY)
list(JOIN names "\n" lines)
file(CONFIGURE OUTPUT static/names CONTENT "${lines}\n" @ONLY)

# Their code stays in sections of its own: one of all ends the linker for arm64 of binutils 2.40 by a fault.
#
# The go command makes an archive anew each time, so it is called when the shared library has changed,
# which is built from the same sources.
add_custom_command(
    OUTPUT ${PYTHREAD_STATIC_LIBRARY}
    COMMAND ${CMAKE_COMMAND} -E chdir ${PROJECT_SOURCE_DIR} ${PYTHREAD_GO} build
            -buildmode=c-archive -trimpath -buildvcs=false
            "-ldflags=${go_ldflags}" -o ${PROJECT_BINARY_DIR}/static/go.a ${go_package}
    COMMAND ${CMAKE_C_COMPILER} -r -nostdlib -fPIC -Wl,-d -Wl,--unique=.text ${wraps} static/needs.c
            -Wl,--whole-archive static/go.a -Wl,--no-whole-archive -o static/pythread.o
    COMMAND ${CMAKE_OBJCOPY} $<$<CONFIG:Release,MinSizeRel>:--strip-debug>
            --keep-global-symbols=static/names --rename-section .init_array=.init_array.00104
            static/pythread.o
    COMMAND ${CMAKE_COMMAND} -E rm -f ${PYTHREAD_STATIC_LIBRARY}
    COMMAND ${CMAKE_AR} rcs ${PYTHREAD_STATIC_LIBRARY} static/pythread.o
    DEPENDS ${PYTHREAD_LIBRARY} ${PROJECT_BINARY_DIR}/static/names
            ${PROJECT_BINARY_DIR}/static/needs.c
    WORKING_DIRECTORY ${PROJECT_BINARY_DIR}
    COMMENT "Making libpythread.a"
    COMMAND_EXPAND_LISTS VERBATIM)
add_custom_target(pythread_static_library ALL DEPENDS ${PYTHREAD_STATIC_LIBRARY})
add_dependencies(pythread_static_library pythread_go)
