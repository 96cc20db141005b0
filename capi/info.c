/*
 * info.c - the version of the library, and statistics.
 *
 * Callers: C programs.
 */

#include "_cgo_export.h"
#include "thread/forked.h"
#include "thread/go.h"
#include "thread/own_os_thread.h"
#include "visit.h"

#include <errno.h>
#include <string.h>

static void count(void *stats)
{
    struct visit visit;
    pythread_stats *all = stats;
    if (go_is_out_of_reach()) {
        own_ask_elsewhere(count, all);
    } else if (enter_go(&visit)) {
        go_get_stats(all);
        leave_go(&visit);
    } else {
        forked_count(&all->threads, &all->handles);
    }
}

int pythread_get_stats(pythread_stats *stats, size_t size)
{
    pythread_stats all = {0};
    if (stats == NULL) {
        return EINVAL;
    }
    count(&all);
    memset(stats, 0, size);
    memcpy(stats, &all, size < sizeof all ? size : sizeof all);
    return 0;
}

#define STRING_OF(token) #token
#define STRING(macro) STRING_OF(macro)

const char *pythread_version(void)
{
    return STRING(PYTHREAD_VERSION_MAJOR) "." STRING(PYTHREAD_VERSION_MINOR) "." STRING(
        PYTHREAD_VERSION_PATCH);
}
