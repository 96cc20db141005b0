/*
 * reuse.c - decides whether a thread runs on an OS thread that earlier threads have used.
 *
 * In the mode CLEAN a thread runs on an OS thread of the Go runtime. If the thread leaves nothing
 * there, the OS thread goes on to the next thread. If not, it ends, and Go makes another, which
 * takes longer than pthread_create. So after threads that left something, the next ones get
 * pthreads of their own, until threads leave nothing again.
 *
 * Callers: C programs, own_os_thread.c, thread.c, trampoline.c.
 */
#include "reuse.h"

#include "clean.h"
#include "pythread.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* NEVER, which promises the most, unless the library can see what a thread leaves (at_load). */
static atomic_int mode = PYTHREAD_REUSE_NEVER;

/* Grows with each thread that leaves something on its OS thread, and shrinks with each other one.
 */
static atomic_int dirtiness;
enum { DIRTY_STEP = 4, DIRTIEST = 64 };

int reuse_mode(void)
{
    /* Relaxed: the mode publishes no other memory. */
    return atomic_load_explicit(&mode, memory_order_relaxed);
}

int pythread_set_reuse(int wanted)
{
    bool is_known = wanted == PYTHREAD_REUSE_NEVER || wanted == PYTHREAD_REUSE_ALWAYS ||
                    (wanted == PYTHREAD_REUSE_CLEAN && clean_can_tell());
    return is_known ? atomic_exchange_explicit(&mode, wanted, memory_order_relaxed) : -1;
}

int pythread_get_reuse(void)
{
    return reuse_mode();
}

bool reuse_wants_own_pthread(int of_mode)
{
    return of_mode == PYTHREAD_REUSE_NEVER ||
           (of_mode == PYTHREAD_REUSE_CLEAN &&
            (atomic_load_explicit(&dirtiness, memory_order_relaxed) > 0 ||
             clean_scheduling_is_mixed() || !clean_has_initial_scheduling()));
}

void reuse_note_end(bool is_clean)
{
    /* An update may be lost: the number is only a hint. */
    int now = atomic_load_explicit(&dirtiness, memory_order_relaxed);
    int next = is_clean ? now - 1 : now + DIRTY_STEP;
    next = next < 0 ? 0 : next > DIRTIEST ? DIRTIEST : next;
    if (next != now) {
        atomic_store_explicit(&dirtiness, next, memory_order_relaxed);
    }
}

/* Runs after the constructor of clean.c. */
__attribute__((constructor)) static void at_load(void)
{
    static const char *const names[] = {[PYTHREAD_REUSE_CLEAN] = "clean",
                                        [PYTHREAD_REUSE_NEVER] = "never",
                                        [PYTHREAD_REUSE_ALWAYS] = "always"};
    const char *wanted = getenv("PYTHREAD_REUSE");
    pythread_set_reuse(PYTHREAD_REUSE_CLEAN);
    for (int i = 0; wanted != NULL && i < 3; i++) {
        if (strcmp(wanted, names[i]) == 0) {
            pythread_set_reuse(i);
        }
    }
}
