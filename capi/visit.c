/*
 * visit.c - lets C call the //export functions.
 *
 * Invariant: Go is called only between enter_go and leave_go. After leave_go the caller has the
 * signal mask, the signal stack and the floating-point modes that it had before.
 *
 * Callers: go_threads.c, info.c, thread.c.
 */
#define _GNU_SOURCE
#include "visit.h"

#include "_cgo_export.h"
#include "thread/go.h"
#include "thread/own_os_thread.h"

#include <signal.h>

/*
 * Calls Go on the calling OS thread for the first time. Go then gives the OS thread a signal stack,
 * if it has none, and unblocks some signals. This undoes both, except the signal stack in a Go
 * program, where Go handles signals.
 */
static void meet_go(void)
{
#ifdef _WIN32
    go_init_thread();
#else
    stack_t signal_stack;
    os_signals mask = os_signal_mask();
    if (go_stack_end() == 0) { /* the OS thread is not Go's */
        own_watch_caller();
    }
    sigaltstack(NULL, &signal_stack);
    go_init_thread();
    os_set_signal_mask(mask);
    if (!go_is_programs_own()) {
        sigaltstack(&signal_stack, NULL);
    }
#endif
}

bool enter_go(struct visit *visit)
{
    if (!go_is_in_reach()) {
        return false;
    }
    visit->blocks_signals = !go_is_programs_own();
    if (visit->blocks_signals) {
        visit->signal_mask = os_block_all_signals();
        if (!go_is_here()) { /* a handler of a signal has forked since */
            os_set_signal_mask(visit->signal_mask);
            return false;
        }
    }
    visit->float_mode = os_float_mode();
    if ((visit->float_mode & ~OS_FLOAT_FLAGS) != OS_FIRST_FLOAT_MODE) {
        os_set_float_mode(OS_FIRST_FLOAT_MODE);
    }
    if (!go_knows_os_thread()) {
        go_meets_os_thread();
        meet_go();
    }
    return true;
}

void leave_go(const struct visit *visit)
{
    if (os_float_mode() != visit->float_mode) {
        os_set_float_mode(visit->float_mode);
    }
    if (visit->blocks_signals) {
        os_unblock_signals(visit->signal_mask);
    }
}
