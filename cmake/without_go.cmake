# pythread::pythread without threads: the part of the library that never enters Go, for tools that
# cannot run with a Go runtime in the process.
add_library(pythread STATIC capi/lock.c capi/pylock.c capi/critical.c capi/status.c capi/fork.c capi/tss.c capi/os_linux.c capi/os_posix.c)
target_include_directories(pythread PUBLIC include)
target_compile_definitions(pythread INTERFACE PYTHREAD_WITHOUT_GO)
add_library(pythread::pythread ALIAS pythread)
