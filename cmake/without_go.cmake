# Adds a library of the part that never enters Go. It is pythread::pythread for tools that cannot run with
# a Go runtime in the process.
function(pythread_add_without_go name)
    set(internal ${PROJECT_SOURCE_DIR}/capi/internal)
    foreach(file IN ITEMS sync/critical sync/identity sync/lock sync/pylock sync/pythons sync/status
            sync/tss system/fork system/os_linux system/os_posix)
        list(APPEND sources ${internal}/${file}.c)
    endforeach()
    add_library(${name} STATIC ${sources})
    set_target_properties(${name} PROPERTIES C_EXTENSIONS ON) # as in capi.go
    target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR}/include PRIVATE ${internal})
    target_compile_definitions(${name} INTERFACE PYTHREAD_WITHOUT_GO)
endfunction()
