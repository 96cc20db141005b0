//go:build unix

/*
 * nofile.c - restores the program's limit on open files, which Go raises when it starts.
 *
 * Callers: go_start.c, go_threads.c, loading.c, nofile.go.
 */
#include "nofile.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/resource.h>

/* RLIM_INFINITY: none noted. Relaxed, everywhere: it publishes no other memory. */
static _Atomic(rlim_t) noted = RLIM_INFINITY;

/* True if the limit is the one that Go sets: one less than the maximum. */
static bool is_gos(const struct rlimit *limit)
{
    return limit->rlim_cur == limit->rlim_max - 1;
}

void nofile_note(void)
{
    struct rlimit now;
    if (getrlimit(RLIMIT_NOFILE, &now) == 0 && !is_gos(&now)) {
        atomic_store_explicit(&noted, now.rlim_cur, memory_order_relaxed);
    }
}

void nofile_restore(void)
{
    struct rlimit now;
    rlim_t before = atomic_load_explicit(&noted, memory_order_relaxed);
    if (getrlimit(RLIMIT_NOFILE, &now) == 0 && is_gos(&now) && before < now.rlim_cur) {
        now.rlim_cur = before;
        setrlimit(RLIMIT_NOFILE, &now);
    }
}
