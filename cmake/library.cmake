# The library, which the go command builds: libpythread.so, and libpythread.a by static.cmake. On
# Windows it is libpythread.dll, with libpythread.dll.a to link with.

if(WIN32)
    set(go_output libpythread.dll)
    set(library libpythread.dll)
    set(PYTHREAD_IMPORT_LIBRARY ${PROJECT_BINARY_DIR}/libpythread.dll.a)
    set(PYTHREAD_LINKS "")
else()
    set(go_output libpythread.so)
    set(soname libpythread.so.${PROJECT_VERSION_MAJOR})
    set(library libpythread.so.${PROJECT_VERSION})
    set(PYTHREAD_LINKS ${PROJECT_BINARY_DIR}/${soname} ${PROJECT_BINARY_DIR}/libpythread.so)
endif()
set(PYTHREAD_LIBRARY ${PROJECT_BINARY_DIR}/${library})

# The version script exports the names that the headers declare, and no others. Each major version has
# a node, so that a program does not bind to the library of another major version.
set(declarations "")
foreach(header IN LISTS PYTHREAD_HEADERS)
    file(READ ${header} text)
    string(APPEND declarations "${text}")
endforeach()
string(REGEX REPLACE "#[^\n]*" "" declarations "${declarations}")
string(REPLACE ";" "(" declarations "${declarations}")
string(REGEX MATCHALL "PYTHREAD_API[^(]*" names "${declarations}")
list(TRANSFORM names REPLACE ".*[ *]" "")
list(JOIN names "; " names)
file(CONFIGURE OUTPUT pythread.map CONTENT "PYTHREAD_@PROJECT_VERSION_MAJOR@ { global: @names@; local: *; };\n"
     @ONLY)

if(WIN32) # a DLL exports the names that the header marks, and Go's exports
    set(extldflags "'-Wl,--out-implib,${PYTHREAD_IMPORT_LIBRARY}'")
else()
    set(extldflags
        "-Wl,-soname,${soname} '-Wl,--version-script=${PROJECT_BINARY_DIR}/pythread.map'")
endif()
set(go_ldflags "$<$<CONFIG:Release,MinSizeRel>:-s -w>")
set(go_package ./capi/libpythread)
set(ldflags "${go_ldflags} -extldflags \"${extldflags}\"")

# Only the go command knows whether something has changed, so each build calls it. With -v it prints the
# packages that it compiles. Its result is copied only if it differs, so that programs are not linked
# again without a reason.
if(CMAKE_GENERATOR MATCHES Ninja) # which prints the command if there is no comment
    set(comment COMMENT "go build ${go_output}")
endif()
add_custom_target(
    pythread_go ALL
    COMMAND ${PYTHREAD_GO} build -v -buildmode=c-shared -trimpath -buildvcs=false
            $<$<STREQUAL:${PYTHREAD_SANITIZE},address>:-asan> -ldflags ${ldflags}
            -o ${PROJECT_BINARY_DIR}/go/${go_output} ${go_package}
    COMMAND ${CMAKE_COMMAND} -E copy_if_different ${PROJECT_BINARY_DIR}/go/${go_output}
            ${PYTHREAD_LIBRARY}
    BYPRODUCTS ${PYTHREAD_LIBRARY} ${PYTHREAD_IMPORT_LIBRARY}
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
    ${comment}
    COMMAND_EXPAND_LISTS VERBATIM)
foreach(link IN LISTS PYTHREAD_LINKS)
    file(CREATE_LINK ${library} ${link} SYMBOLIC)
endforeach()

if(PYTHREAD_STATIC)
    include(cmake/static.cmake)
endif()

# Builds a Go program at every build, as the library above. Further arguments go to go build.
function(pythread_add_go_program program package)
    get_filename_component(name ${program} NAME)
    if(comment)
        set(comment COMMENT "go build ${name}")
    endif()
    add_custom_target(
        go_${name} ALL
        COMMAND ${PYTHREAD_GO} build -trimpath -buildvcs=false ${ARGN} -o ${program} ${package}
        BYPRODUCTS ${program}
        WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
        ${comment}
        VERBATIM)
endfunction()
