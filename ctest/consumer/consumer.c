/* consumer.c - a C program that uses an installed copy: one thread, seen to run and joined. */
#include <pythread.h>
#include <stdio.h>

static void work(void *arg)
{
    *(PyThread_ident_t *)arg = PyThread_get_thread_ident_ex();
}

int main(void)
{
    PyThread_ident_t inside = 0, ident;
    PyThread_handle_t handle;
    if (PyThread_start_joinable_thread(work, &inside, &ident, &handle) != 0 ||
        PyThread_join_thread(handle) != 0) {
        return 1;
    }
    printf("C: thread %llu, inside %llu, pythread %s\n", ident, inside, pythread_version());
    return inside == ident ? 0 : 1;
}
