# The packages that cpack makes in the preset package. The .deb files are libpythread0, with the library,
# and libpythread-dev, with what programs are built with. A .tar.gz has all files. The COMPONENT of an
# install rule, runtime or development, selects one of the two .deb files.
set(CPACK_PACKAGE_VENDOR "Seed c0a0ef17 maintainers")
set(CPACK_PACKAGE_CONTACT "${CPACK_PACKAGE_VENDOR} <maintainers@users.noreply.r-seed-c0a0ef17.example>")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_GENERATOR DEB TGZ)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL runtime development)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SOURCE pythread)
set(debian_version ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})
set(about "Threads that any thread may join, locks that any thread may release, with
timeouts, and thread-specific storage, for programs without Python: with the
names and the header of CPython. A thread is a goroutine of the Go runtime in
the library.")

set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME libpythread${PROJECT_VERSION_MAJOR})
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_RUNTIME_DESCRIPTION "${about}")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY >=)
# CPack writes scripts that call ldconfig, and Debian wants a trigger instead.
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA ${PROJECT_SOURCE_DIR}/cmake/debian/triggers)
if(CMAKE_INSTALL_LIBDIR STREQUAL "lib/${CMAKE_LIBRARY_ARCHITECTURE}")
    set(CPACK_DEBIAN_RUNTIME_PACKAGE_MULTIARCH same)
endif()

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libpythread-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_DESCRIPTION "${about}
.
This package has the files that programs are built with.")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
    "${CPACK_DEBIAN_RUNTIME_PACKAGE_NAME} (= ${debian_version}), libc6-dev")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SHLIBDEPS ON)

# The files that only a Debian package has, not cmake --install.
find_program(GZIP_EXECUTABLE gzip)
if(GZIP_EXECUTABLE)
    string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC)
    configure_file(cmake/debian/changelog.in debian/changelog.Debian @ONLY)
    configure_file(CHANGELOG.md debian/changelog COPYONLY)
    file(READ LICENSE license)
    string(REGEX REPLACE "^MIT License\n\nCopyright \\(c\\) ([^\n]*)\n\n" "" license "${license}")
    set(holders "${CMAKE_MATCH_1}")
    string(REGEX REPLACE "\n\n" "\n.\n" license "${license}")
    string(REGEX REPLACE "([^\n]+)" " \\1" license "${license}")
    configure_file(cmake/debian/copyright.in debian/copyright @ONLY)
    execute_process(COMMAND ${GZIP_EXECUTABLE} -9nf changelog changelog.Debian
                    WORKING_DIRECTORY ${PROJECT_BINARY_DIR}/debian COMMAND_ERROR_IS_FATAL ANY)
    foreach(component IN ITEMS RUNTIME DEVELOPMENT)
        string(TOLOWER ${component} lower)
        install(FILES ${PROJECT_BINARY_DIR}/debian/changelog.gz
                      ${PROJECT_BINARY_DIR}/debian/changelog.Debian.gz
                      ${PROJECT_BINARY_DIR}/debian/copyright
                DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${CPACK_DEBIAN_${component}_PACKAGE_NAME}
                COMPONENT ${lower} EXCLUDE_FROM_ALL)
    endforeach()
    # A Debian package has compressed man pages.
    if(PYTHREAD_DOCS)
        set(man ${CMAKE_INSTALL_MANDIR})
        install(DIRECTORY ${PROJECT_BINARY_DIR}/docs/man/ DESTINATION ${man}
                COMPONENT development EXCLUDE_FROM_ALL)
        install(CODE "
            file(GLOB pages \$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${man}/man*/*.[1-9])
            execute_process(COMMAND ${GZIP_EXECUTABLE} -9nf \${pages} COMMAND_ERROR_IS_FATAL ANY)"
                COMPONENT development EXCLUDE_FROM_ALL)
    endif()
endif()
include(CPack)
