/*
 * info.c - what the library says of itself. It is C because the child of a fork must not enter Go.
 */
#include "thread.h"

#include "_cgo_export.h"
#include "plain.h"

static void get_stats(void *stats)
{
    pythread_get_stats(stats);
}

void pythread_get_stats(pythread_stats *stats)
{
    struct visit visit;
    *stats = (pythread_stats){0};
    if (go_is_out_of_reach()) {
        thread_ask_elsewhere(get_stats, stats);
    } else if (enter_go(&visit)) {
        go_get_stats(stats);
        leave_go(&visit);
    } else {
        plain_count(&stats->threads, &stats->handles);
    }
}

#define STRING_OF(token) #token
#define STRING(macro) STRING_OF(macro)

const char *pythread_version(void)
{
    return STRING(PYTHREAD_VERSION_MAJOR) "." STRING(PYTHREAD_VERSION_MINOR) "." STRING(
        PYTHREAD_VERSION_PATCH);
}
