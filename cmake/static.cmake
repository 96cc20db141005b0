# The static library, libpythread.a: what the go command makes as an archive, linked into one object
# in which only the header's names are global. So a program that links it may have any other names,
# and is linked without a flag of ours: the --wrap options that the package asks for have been applied.
#
# Go starts in a constructor, with signals blocked. Constructors of the program would run before the
# default ones of an archive, so those of the library get a priority, after its own that have one: the
# first constructor of the program without one finds the library ready, as that of a shared one.

set(PYTHREAD_STATIC_LIBRARY ${PROJECT_BINARY_DIR}/libpythread.a)

# The real functions behind the wrapped ones are weak in the sources, and a static C library has only
# what something needs: these needs are strong. By the last one a thread knows what it leaves behind.
file(STRINGS ${go_package}/main.go wraps REGEX "^// #cgo .*--wrap=")
string(REGEX MATCHALL "-Wl,--wrap=[a-z_]+" wraps "${wraps}")
string(REPLACE "-Wl,--wrap=" "__real_" needs "${wraps}")
list(APPEND needs __cxa_thread_atexit_impl)
set(lines "")
foreach(need IN LISTS needs)
    string(APPEND lines "extern char ${need};\nchar *const pythread_needs_${need} = &${need};\n")
endforeach()
file(CONFIGURE OUTPUT static/needs.c CONTENT "${lines}" @ONLY)
list(JOIN names "\n" lines)
file(CONFIGURE OUTPUT static/names CONTENT "${lines}\n" @ONLY)

set(ends ${PROJECT_SOURCE_DIR}/cmake)
set(archive ${PROJECT_BINARY_DIR}/static/go.a)
if(comment)
    set(comment COMMENT "go build libpythread.a")
endif()
add_custom_target(
    pythread_go_static
    COMMAND ${PYTHREAD_GO} build -v -buildmode=c-archive -trimpath -buildvcs=false ${engine_flags}
            "-ldflags=${go_ldflags}" -o ${PROJECT_BINARY_DIR}/go/libpythread.a ${go_package}
    COMMAND ${CMAKE_COMMAND} -E copy_if_different ${PROJECT_BINARY_DIR}/go/libpythread.a ${archive}
    BYPRODUCTS ${archive}
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
    ${comment}
    COMMAND_EXPAND_LISTS VERBATIM)
# One after the other: both compile the same packages, which the second finds in Go's cache.
add_dependencies(pythread_go_static pythread_go)
add_custom_command(
    OUTPUT ${PYTHREAD_STATIC_LIBRARY}
    COMMAND ${CMAKE_C_COMPILER} -r -nostdlib -fPIC -ftls-model=initial-exec -Wl,-d ${wraps}
            ${ends}/static_first.c static/needs.c -Wl,--whole-archive ${archive}
            -Wl,--no-whole-archive ${ends}/static_last.c -o static/pythread.o
    COMMAND ${CMAKE_OBJCOPY} $<$<CONFIG:Release,MinSizeRel>:--strip-debug> --keep-global-symbols=static/names
            --rename-section .init_array=.init_array.00104 static/pythread.o
    COMMAND ${CMAKE_COMMAND} -E rm -f ${PYTHREAD_STATIC_LIBRARY}
    COMMAND ${CMAKE_AR} rcs ${PYTHREAD_STATIC_LIBRARY} static/pythread.o
    DEPENDS ${archive} ${PROJECT_BINARY_DIR}/static/names ${PROJECT_BINARY_DIR}/static/needs.c
            ${ends}/static_first.c ${ends}/static_last.c pythread_go_static
    WORKING_DIRECTORY ${PROJECT_BINARY_DIR}
    COMMENT "Linking libpythread.a"
    COMMAND_EXPAND_LISTS VERBATIM)
add_custom_target(pythread_static_library ALL DEPENDS ${PYTHREAD_STATIC_LIBRARY})
