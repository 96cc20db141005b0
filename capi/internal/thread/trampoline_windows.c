/*
 * trampoline_windows.c - the trampoline on Windows, which has no signals and no cancellation.
 *
 * An exit jumps over the C frames of the thread to the frame of thread_run. As in CPython on
 * Windows, it runs no destructors of C++ frames. Invariant: the same as in trampoline.c.
 */
#include "trampoline.h"

#include "sync/critical.h"
#include "sync/status.h"
#include "sync/tss.h"
#include "system/os.h"

#include <errno.h>
#include <setjmp.h>
#include <windows.h>

/* The floating-point mode that the OS thread had before the thread that runs on it. */
THREAD_LOCAL uint64_t float_mode_before;
/* True if the OS thread runs a thread; and the place to which an exit jumps. */
THREAD_LOCAL bool runs;
THREAD_LOCAL jmp_buf exit_to;

struct inheritance thread_inheritance(int reuse, uint64_t float_mode, const os_signals *signal_mask)
{
    (void)reuse;
    (void)signal_mask;
    return (struct inheritance){.float_mode = float_mode & ~OS_FLOAT_FLAGS};
}

void thread_note_gos_first(void)
{
    /* On Windows every OS thread can be reused. */
}

void thread_leave(void)
{
    runs = false;
    os_set_float_mode(float_mode_before);
    tss_thread_end();
    status_become(0);
}

void thread_exit(void)
{
    if (!runs) {
        ExitThread(0);
    }
    longjmp(exit_to, 1);
}

enum os_thread_state thread_prepare(const struct inheritance *creator)
{
    (void)creator;
    return OS_THREAD_IS_FIT;
}

enum os_thread_fate thread_run(const struct thread_start *start)
{
    status_become(start->ident);
    critical_exchange(0); /* a thread that has ended in a section has left it there */
    float_mode_before = os_float_mode();
    os_set_float_mode(start->creator.float_mode);
    errno = 0;
    runs = true;
    /* NULL: the jump restores the registers and unwinds nothing. */
    if (_setjmp(exit_to, NULL) == 0) {
        start->func((void *)start->arg);
    }
    thread_leave();
    return OS_THREAD_IS_REUSABLE;
}
