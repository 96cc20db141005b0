/* static_last.c - the last object of libpythread.a: where the library's thread-local variables,
   those with a value and those that are zero, begin and end among those of the program. For
   capi/clean.c. */
extern _Thread_local char pythread_data_begin, pythread_zeros_begin;
_Thread_local char pythread_data_end = 1, pythread_zeros_end;

void clean_find_own_variables(const char *ends[4]);

void clean_find_own_variables(const char *ends[4])
{
    ends[0] = &pythread_data_begin;
    ends[1] = &pythread_data_end;
    ends[2] = &pythread_zeros_begin;
    ends[3] = &pythread_zeros_end;
}
