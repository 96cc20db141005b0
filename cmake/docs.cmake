# The documentation, which doxygen makes from the comments of the header (cmake/docs/docs.sh): man pages,
# and a reference in HTML. It is installed with the library.
find_program(DOXYGEN_EXECUTABLE doxygen)
if(NOT DOXYGEN_EXECUTABLE)
    message(FATAL_ERROR "PYTHREAD_DOCS needs doxygen: ./setup.sh --with-tools installs it")
endif()
include(GNUInstallDirs)

set(docs ${PROJECT_BINARY_DIR}/docs)
file(GLOB docs_sources CONFIGURE_DEPENDS cmake/docs/*)
file(MAKE_DIRECTORY ${docs})
add_custom_command(
    OUTPUT ${docs}/html/index.html
    COMMAND sh ${PROJECT_SOURCE_DIR}/cmake/docs/docs.sh ${PROJECT_SOURCE_DIR} ${PROJECT_VERSION}
    DEPENDS ${docs_sources} ${PYTHREAD_HEADERS} ${PROJECT_SOURCE_DIR}/docs/limits.md
    WORKING_DIRECTORY ${docs}
    COMMENT "doxygen: ${docs}/html/index.html and ${docs}/man"
    VERBATIM)
add_custom_target(docs ALL DEPENDS ${docs}/html/index.html)
install(DIRECTORY ${docs}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR} COMPONENT docs)
install(DIRECTORY ${docs}/html DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT docs)
