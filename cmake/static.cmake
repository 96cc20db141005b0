# The static library, libpythread.a. The go command makes an archive, which is linked into one object, in
# which only the names of the header are global. So a program that links it may have any other names.
# The program needs no linker flags, because this link has applied the --wrap options.
#
# Constructors of the program must find the library ready, as they find a shared library. The default
# constructors of an archive would run after them. So these get a priority here, behind the constructors
# of the library that have one.

set(PYTHREAD_STATIC_LIBRARY ${PROJECT_BINARY_DIR}/libpythread.a)

# The sources refer to the real functions behind the wrapped ones by weak names. A program that is linked
# with a static C library gets only what a strong name needs. These are the strong names.
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

# --unique=.text keeps code sections apart, because one large section crashes the arm64 linker of
# binutils 2.40.
#
# The go command makes a new archive each time. So it is called only when the shared library has changed,
# which has the same sources.
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
