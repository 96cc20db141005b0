/*
 * status.c - what the threads do at the moment, for dumps and traces.
 *
 * A dump reads this in a signal handler, while threads start and end. So a status is in memory that
 * is never freed, and every field is atomic. Invariant: at most one OS thread has taken a status,
 * and only that one writes it.
 *
 * Callers: do.c, dump.c, forked.c, lock.c, own_os_thread.c, pylock.c, thread.c, trace.c,
 * trampoline.c, trampoline_windows.c.
 */
#include "status.h"

#include "identity.h"
#include "system/os.h"

struct status {
    atomic_bool is_taken;
    atomic_bool is_ours;
    atomic_int reason;
    atomic_ullong ident;
    atomic_ulong native_id;
    atomic_llong since;
    atomic_uintptr_t what;
    atomic_llong waits_since;
    atomic_uint waits;
    unsigned mark;
    void *tracers;
};

/* Blocks of statuses, each twice as large as the one before. */
enum { FIRST_BLOCK = 64, MOST_BLOCKS = 20 };
static struct status first_block[FIRST_BLOCK];
static _Atomic(struct status *) blocks[MOST_BLOCKS] = {first_block};
static atomic_uint block_count = 1;

_Atomic(status_tracer *) status_traced_by;

/* The status that the calling OS thread has taken. */
THREAD_LOCAL struct status *mine;

/* ------------------------------------------------------------------------ places */

unsigned status_places(void)
{
    /* Acquire: the caller sees the blocks that are counted. */
    unsigned count = atomic_load_explicit(&block_count, memory_order_acquire);
    return (FIRST_BLOCK << count) - FIRST_BLOCK;
}

static struct status *at(unsigned place)
{
    unsigned block = 31 - (unsigned)__builtin_clz(place / FIRST_BLOCK + 1);
    unsigned first = (FIRST_BLOCK << block) - FIRST_BLOCK;
    return atomic_load_explicit(&blocks[block], memory_order_relaxed) + (place - first);
}

/*
 * Adds a block to `count` blocks, unless another thread does. False if there is no memory. A thread
 * that finds the new block also counts it. So no thread waits for the one that made the block,
 * which may be the code that a signal handler has interrupted.
 */
static bool add_block(unsigned count)
{
    struct status *none = NULL;
    if (count == MOST_BLOCKS) {
        return false;
    }
    struct status *block = os_map((sizeof *block * FIRST_BLOCK) << count);
    if (block == NULL) {
        return false;
    }
    /* Acquire, if another thread made the block. The count that follows is a release. So a thread
       that sees the count sees the block, whichever thread counts it. */
    if (!atomic_compare_exchange_strong_explicit(&blocks[count], &none, block, memory_order_acq_rel,
                                                 memory_order_acquire)) {
        os_unmap(block, (sizeof *block * FIRST_BLOCK) << count);
    }
    atomic_compare_exchange_strong_explicit(&block_count, &count, count + 1, memory_order_release,
                                            memory_order_relaxed);
    return true;
}

static bool take(struct status *status)
{
    /* Acquire: the writes of the last owner happen before those of the caller. */
    return !atomic_load_explicit(&status->is_taken, memory_order_relaxed) &&
           !atomic_exchange_explicit(&status->is_taken, true, memory_order_acquire);
}

/*
 * Takes a status that is free. NULL if there is no memory; then no dump shows the thread. Each OS
 * thread looks first where it looked before, so that none looks where another one writes.
 */
static struct status *take_any(void)
{
    enum { TRIES = 16, STEP = 1021 };
    unsigned first = os_first_place();
    do {
        for (unsigned i = 0; i < TRIES; i++) {
            unsigned place = (first + i * STEP) % status_places();
            if (take(at(place))) {
                return at(place);
            }
        }
    } while (add_block(atomic_load_explicit(&block_count, memory_order_relaxed)));
    return NULL;
}

/* ------------------------------------------------------------------------ for the caller */

/* NULL if no trace is written. Acquire: the caller sees what the tracer needs. */
static status_tracer *tracer(void)
{
    return atomic_load_explicit(&status_traced_by, memory_order_acquire);
}

int64_t status_now(void)
{
    return tracer() != NULL ? os_now_ns() : os_about_now_ns();
}

static void trace(struct status_event event)
{
    status_tracer *trace = tracer();
    if (trace != NULL && mine != NULL) {
        trace(&mine->tracers, event);
    }
}

/*
 * Shows the caller to dumps. Each field is stored by a release: a reader that loads a new value by
 * an acquire does not load the old ident afterwards. The ident is stored last, by a release: a
 * reader that loads it by an acquire sees the fields that belong to it.
 */
static void show(PyThread_ident_t ident, bool is_ours)
{
    if (mine == NULL) {
        mine = take_any();
    }
    if (mine != NULL) {
        atomic_store_explicit(&mine->ident, 0, memory_order_relaxed);
        atomic_store_explicit(&mine->is_ours, is_ours, memory_order_release);
        atomic_store_explicit(&mine->native_id, identity_native_id(), memory_order_release);
        atomic_store_explicit(&mine->since, status_now(), memory_order_release);
        atomic_store_explicit(&mine->ident, ident, memory_order_release);
    }
}

/* Shows a wait, in the same way. Its number tells it from other waits. */
static void show_wait(struct status_wait wait)
{
    unsigned number = atomic_load_explicit(&mine->waits, memory_order_relaxed) + 1;
    atomic_store_explicit(&mine->waits, number, memory_order_relaxed);
    atomic_store_explicit(&mine->reason, WAITS_FOR_NOTHING, memory_order_release);
    atomic_store_explicit(&mine->what, wait.what, memory_order_release);
    atomic_store_explicit(&mine->waits_since, wait.since, memory_order_release);
    atomic_store_explicit(&mine->reason, wait.reason, memory_order_release);
}

/* The wait of the caller, which has a status. */
static struct status_wait current_wait(void)
{
    return (struct status_wait){.reason = atomic_load_explicit(&mine->reason, memory_order_relaxed),
                                .what = atomic_load_explicit(&mine->what, memory_order_relaxed),
                                .since =
                                    atomic_load_explicit(&mine->waits_since, memory_order_relaxed)};
}

void status_end(void)
{
    struct status *status = mine;
    if (status != NULL) {
        if (atomic_load_explicit(&status->is_ours, memory_order_relaxed)) {
            trace((struct status_event){
                .what = HAS_RUN,
                .ident = atomic_load_explicit(&status->ident, memory_order_relaxed),
                .since = atomic_load_explicit(&status->since, memory_order_relaxed)});
        }
        mine = NULL;
        atomic_store_explicit(&status->reason, WAITS_FOR_NOTHING, memory_order_relaxed);
        atomic_store_explicit(&status->ident, 0, memory_order_relaxed);
        /* Release: pairs with take. */
        atomic_store_explicit(&status->is_taken, false, memory_order_release);
    }
}

PyThread_ident_t status_become(PyThread_ident_t ident)
{
    PyThread_ident_t before = identity_self();
    identity_act_for(ident);
    if (ident == 0) {
        status_end();
    } else {
        show(ident, true);
    }
    return before;
}

struct status_wait status_wait(enum status_reason reason, uintptr_t what)
{
    struct status_wait before = {.reason = WAITS_FOR_NOTHING};
    if (mine != NULL) {
        before = current_wait();
    } else if (identity_self() == 0) {
        show(identity_caller(), false);
    }
    if (mine != NULL) {
        show_wait((struct status_wait){.reason = reason, .what = what, .since = status_now()});
    }
    return before;
}

void status_wait_ends(struct status_wait before)
{
    if (mine != NULL) {
        struct status_wait wait = current_wait();
        trace((struct status_event){.what = HAS_WAITED, .wait = wait, .since = wait.since});
        show_wait(before);
        if (before.reason == WAITS_FOR_NOTHING &&
            !atomic_load_explicit(&mine->is_ours, memory_order_relaxed)) {
            status_end();
        }
    }
}

void status_started(PyThread_ident_t ident, int64_t since)
{
    if (tracer() != NULL) {
        bool is_seen = mine != NULL;
        if (!is_seen) {
            show(identity_caller(), false);
        }
        trace((struct status_event){.what = HAS_STARTED, .ident = ident, .since = since});
        if (!is_seen) {
            status_end();
        }
    }
}

/* ------------------------------------------------------------------------ for others */

bool status_look(unsigned place, struct status_view *view)
{
    struct status *status = at(place);
    /* Acquire: pairs with the releases of show and show_wait. */
    *view = (struct status_view){
        .ident = atomic_load_explicit(&status->ident, memory_order_acquire),
        .waits = atomic_load_explicit(&status->waits, memory_order_relaxed),
        .is_ours = atomic_load_explicit(&status->is_ours, memory_order_acquire),
        .native_id = atomic_load_explicit(&status->native_id, memory_order_acquire),
        .since = atomic_load_explicit(&status->since, memory_order_acquire),
    };
    view->wait.reason = atomic_load_explicit(&status->reason, memory_order_acquire);
    view->wait.what = atomic_load_explicit(&status->what, memory_order_acquire);
    view->wait.since = atomic_load_explicit(&status->waits_since, memory_order_acquire);
    if (atomic_load_explicit(&status->waits, memory_order_relaxed) != view->waits) {
        /* The wait has changed: for a moment the thread waits for nothing. */
        view->wait.reason = WAITS_FOR_NOTHING;
    }
    return view->ident != 0 &&
           atomic_load_explicit(&status->ident, memory_order_relaxed) == view->ident;
}

unsigned *status_mark(unsigned place)
{
    return &at(place)->mark;
}

void status_forget_all(void)
{
    for (unsigned place = 0; place < status_places(); place++) {
        struct status *status = at(place);
        /* A handler that forks may have interrupted a function of this file, which uses the
           caller's status. */
        if (status != mine) {
            atomic_store_explicit(&status->ident, 0, memory_order_relaxed);
            atomic_store_explicit(&status->reason, WAITS_FOR_NOTHING, memory_order_relaxed);
            atomic_store_explicit(&status->is_taken, false, memory_order_relaxed);
        }
    }
}

void status_survive(void)
{
    if (identity_self() != 0) {
        show(identity_self(), true);
    }
}
