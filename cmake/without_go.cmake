# pythread::pythread without threads: the part of the library that never enters Go, for tools that
# cannot run with a Go runtime in the process.
foreach(file IN ITEMS sync/critical sync/identity sync/lock sync/pylock sync/pythons sync/status
        sync/tss system/fork system/os_linux system/os_posix)
    list(APPEND sources capi/internal/${file}.c)
endforeach()
add_library(pythread STATIC ${sources})
target_include_directories(pythread PUBLIC include PRIVATE capi/internal)
target_compile_definitions(pythread INTERFACE PYTHREAD_WITHOUT_GO)
add_library(pythread::pythread ALIAS pythread)
