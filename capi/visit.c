/*
 * visit.c - how C calls the //export functions.
 *
 * Invariant: Go is called only between enter_go and leave_go. After leave_go the caller has the
 * signal mask and the signal stack that it had before.
 *
 * The files with the public functions call this. It calls go.h and os.h, and the exports.
 */
#define _GNU_SOURCE
#include "visit.h"

#include "_cgo_export.h"
#include "thread/go.h"

#include <signal.h>

/*
 * Has Go know the calling OS thread. When Go first meets one it gives it a signal stack if it has
 * none, and unblocks some signals. Both stay in a Go program, where Go handles signals.
 */
static void meet_go(void)
{
#ifdef _WIN32
    go_init_thread();
#else
    stack_t signal_stack;
    os_signals mask = os_signal_mask();
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
    }
    if (!go_knows_os_thread()) {
        meet_go();
    }
    return true;
}

void leave_go(const struct visit *visit)
{
    if (visit->blocks_signals) {
        os_unblock_signals(visit->signal_mask);
    }
}
