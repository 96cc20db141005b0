# pythread-run, and its companion, which it preloads with libpythread.so: in the build and installed.
add_library(pythread_preload MODULE capi/preload/preload.c)
set_target_properties(pythread_preload PROPERTIES OUTPUT_NAME pythread-preload PREFIX lib)
target_include_directories(pythread_preload PRIVATE include)
target_link_options(pythread_preload PRIVATE -Wl,-z,initfirst)
target_link_libraries(pythread_preload PRIVATE Threads::Threads ${CMAKE_DL_LIBS})

set(PYTHREAD_RUN ${PROJECT_BINARY_DIR}/pythread-run)
set(PYTHREAD_RUN_LIBRARY_DIR .)
set(PYTHREAD_RUN_PRELOAD libpythread-preload.so)
configure_file(capi/preload/pythread-run.in ${PYTHREAD_RUN} @ONLY
               FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE
                                WORLD_READ WORLD_EXECUTE)
file(RELATIVE_PATH PYTHREAD_RUN_LIBRARY_DIR /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
set(PYTHREAD_RUN_PRELOAD pythread/libpythread-preload.so)
configure_file(capi/preload/pythread-run.in ${PROJECT_BINARY_DIR}/package/pythread-run @ONLY)

install(TARGETS pythread_preload DESTINATION ${CMAKE_INSTALL_LIBDIR}/pythread COMPONENT development)
install(PROGRAMS ${PROJECT_BINARY_DIR}/package/pythread-run DESTINATION ${CMAKE_INSTALL_BINDIR}
        COMPONENT development)
