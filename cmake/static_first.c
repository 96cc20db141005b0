/* static_first.c - the first object of libpythread.a: where the library's thread-local variables
   begin among those of the program (static_last.c). */
_Thread_local char pythread_data_begin = 1, pythread_zeros_begin;
