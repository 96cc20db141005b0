# Defines the targets pythread::pythread and pythread::pythread_static, for this build and for installed
# copies, and the files of cmake --install: libraries, header, CMake package and pythread.pc.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

# Writes directory/pythread-config.cmake, a package with its library and header at these paths, which
# will be installed in destination. All paths are below prefix.
function(pythread_write_package directory prefix destination runtime_dir library_dir include_dir)
    configure_package_config_file(
        cmake/pythread-config.cmake.in ${directory}/pythread-config.cmake
        INSTALL_PREFIX ${prefix} INSTALL_DESTINATION ${destination}
        PATH_VARS runtime_dir library_dir include_dir
        NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
endfunction()

set(runtime_dir ${CMAKE_INSTALL_LIBDIR})
if(WIN32)
    set(runtime_dir ${CMAKE_INSTALL_BINDIR})
endif()
pythread_write_package(${PROJECT_BINARY_DIR} ${PROJECT_BINARY_DIR} . ${PROJECT_BINARY_DIR}
                       ${PROJECT_BINARY_DIR} ${PROJECT_SOURCE_DIR}/include)
include(${PROJECT_BINARY_DIR}/pythread-config.cmake)
add_dependencies(pythread::pythread pythread_go)
set_property(TARGET pythread::pythread PROPERTY IMPORTED_GLOBAL TRUE)
if(PYTHREAD_STATIC)
    add_dependencies(pythread::pythread_static pythread_static_library)
    set_property(TARGET pythread::pythread_static PROPERTY IMPORTED_GLOBAL TRUE)
endif()
if(NOT PYTHREAD_INSTALL)
    return()
endif()

set(package ${PROJECT_BINARY_DIR}/package)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/pythread)
pythread_write_package(${package} ${CMAKE_INSTALL_PREFIX} ${package_dir} ${runtime_dir}
                       ${CMAKE_INSTALL_LIBDIR} ${CMAKE_INSTALL_INCLUDEDIR})
write_basic_package_version_file(${package}/pythread-config-version.cmake
                                 COMPATIBILITY SameMajorVersion)
# The relative path from pythread.pc to the prefix, so that the installed tree may be moved.
file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/pythread.pc.in ${package}/pythread.pc @ONLY)

if(WIN32)
    install(FILES ${PYTHREAD_LIBRARY} DESTINATION ${runtime_dir} COMPONENT runtime)
else()
    # Programs need the second link only when they are linked.
    list(GET PYTHREAD_LINKS 0 soname_link)
    list(GET PYTHREAD_LINKS 1 linker_link)
    install(FILES ${PYTHREAD_LIBRARY} ${soname_link} DESTINATION ${runtime_dir} COMPONENT runtime)
    install(FILES ${linker_link} DESTINATION ${runtime_dir} COMPONENT development)
endif()
install(FILES ${PYTHREAD_IMPORT_LIBRARY} ${PYTHREAD_STATIC_LIBRARY}
        DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
install(FILES ${PYTHREAD_HEADERS} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
install(FILES ${package}/pythread-config.cmake ${package}/pythread-config-version.cmake
        DESTINATION ${package_dir} COMPONENT development)
install(FILES ${package}/pythread.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
        COMPONENT development)
if(PROJECT_IS_TOP_LEVEL)
    include(cmake/cpack.cmake)
endif()
