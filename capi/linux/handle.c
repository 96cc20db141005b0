/*
 * handle.c - the table of threads, and what a handle says of it.
 *
 * A thread is a slot of a table that only grows, by chunks that are never
 * freed, so that any handle whatever can be checked against its slot without
 * a lock: the handle is the slot's number and how often the slot was used
 * before. Invariant: the slot's word counts its users (the thread until it has
 * ended, the handle until it is spent, and each join in progress); whoever
 * takes the count to zero owns the slot and alone gives it back. No step takes
 * a lock, so a fork at any moment leaves the child a sound table.
 */
#include "handle.h"

#include "fork.h"

#include <errno.h>
#include <stdlib.h>

/* As many slots as the kernel has numbers for threads. */
enum { CHUNK_SLOTS = 256, NUMBER_BITS = 22, CHUNKS = (1 << NUMBER_BITS) / CHUNK_SLOTS };

/* The word's fields: 23 bits of count, the mark of a spent handle, and 40 bits of earlier uses. */
#define COUNT_MASK ((1ULL << 23) - 1)
#define SPENT (1ULL << 23)
#define USE (1ULL << 24)
#define LAST_USE (UINT64_MAX / USE)

_Static_assert(sizeof(PyThread_handle_t) == 8, "a handle is 22 bits of slot and 41 of uses");

static _Atomic(struct thread *) chunks[CHUNKS];
/* How many slots there ever were. */
static atomic_uint slots;
/* The free slots, a stack: a tag that every change counts up, and the first's number + 1. */
static atomic_ullong free_slots;

static struct thread *slot_at(unsigned number)
{
    /* Acquire: pairs with the release that published the chunk, so that its slots are zeroed. */
    struct thread *chunk =
        atomic_load_explicit(&chunks[number / CHUNK_SLOTS], memory_order_acquire);
    return chunk + number % CHUNK_SLOTS;
}

static struct thread *slot_pop(void)
{
    unsigned long long head = atomic_load_explicit(&free_slots, memory_order_acquire);
    while ((unsigned)head != 0) {
        struct thread *slot = slot_at((unsigned)head - 1);
        /* The slot may be taken, used and pushed again meanwhile, but then the tag is another and
           the exchange fails, so a stale next_free is read but never used. Slots are never
           unmapped, so reading it is safe. Acquire: its last user is done with it. */
        unsigned long long next =
            ((head >> 32) + 1) << 32 | atomic_load_explicit(&slot->next_free, memory_order_relaxed);
        if (atomic_compare_exchange_weak_explicit(&free_slots, &head, next, memory_order_acquire,
                                                  memory_order_acquire)) {
            return slot;
        }
    }
    return NULL;
}

static void slot_push(struct thread *slot)
{
    unsigned long long head = atomic_load_explicit(&free_slots, memory_order_relaxed), next;
    do {
        atomic_store_explicit(&slot->next_free, (unsigned)head, memory_order_relaxed);
        next = ((head >> 32) + 1) << 32 | (slot->number + 1);
        /* Release: what we did to the slot happens before its next user takes it. */
    } while (!atomic_compare_exchange_weak_explicit(&free_slots, &head, next, memory_order_release,
                                                    memory_order_relaxed));
}

/* A slot that was never used. NULL when no memory is left, or 4 million threads exist. */
static struct thread *slot_make(void)
{
    unsigned number = atomic_load_explicit(&slots, memory_order_relaxed);
    do {
        if (number == CHUNKS * CHUNK_SLOTS) {
            return NULL;
        }
        /* The chunk first, the number after: a failure here must not cost a number. */
        _Atomic(struct thread *) *chunk = &chunks[number / CHUNK_SLOTS];
        if (atomic_load_explicit(chunk, memory_order_acquire) == NULL) {
            struct thread *none = NULL, *made = calloc(CHUNK_SLOTS, sizeof *made);
            if (made == NULL) {
                return NULL;
            }
            if (!atomic_compare_exchange_strong_explicit(chunk, &none, made, memory_order_release,
                                                         memory_order_relaxed)) {
                free(made);
            }
        }
        /* Release: whoever sees the number counted sees its chunk. */
    } while (!atomic_compare_exchange_weak_explicit(&slots, &number, number + 1,
                                                    memory_order_release, memory_order_relaxed));
    struct thread *slot = slot_at(number);
    slot->number = number;
    return slot;
}

/* A slot for a thread to be started, and its handle; with handle NULL, spent from the start. */
struct thread *thread_slot_new(PyThread_handle_t *handle)
{
    struct thread *slot = slot_pop();
    if (slot == NULL && (slot = slot_make()) == NULL) {
        return NULL;
    }
    unsigned long long word = atomic_load_explicit(&slot->word, memory_order_relaxed);
    if (handle != NULL) {
        /* Uses count from 1 in a handle, so that none is 0. */
        *handle = (word / USE + 1) << NUMBER_BITS | slot->number;
    }
    atomic_store_explicit(&slot->epoch, fork_epoch(), memory_order_relaxed);
    atomic_store_explicit(&slot->state, THREAD_RUNNING, memory_order_relaxed);
    atomic_store_explicit(&slot->joining, 0, memory_order_relaxed);
    /* Release: whoever has the handle finds the slot as set up above. */
    atomic_store_explicit(&slot->word, word + (handle != NULL ? 2 : SPENT + 1),
                          memory_order_release);
    return slot;
}

/* Takes one user from the slot's count. */
void thread_slot_leave(struct thread *slot)
{
    /* Release: what this user did to the slot happens before it is used again; acquire, for the
       one that takes the count to zero: the same of all others. */
    unsigned long long word = atomic_fetch_sub_explicit(&slot->word, 1, memory_order_acq_rel) - 1;
    if ((word & COUNT_MASK) != 0) {
        return;
    }
    /* Spent and unused, the slot is ours. Its next use makes every handle of this one stale; after
       the last use it would make the first ones valid again, so there is none: out of service. */
    if (word / USE < LAST_USE) {
        atomic_store_explicit(&slot->word, (word | (USE - 1)) + 1, memory_order_relaxed);
        slot_push(slot);
    }
}

/*
 * Finds the slot of a handle and becomes a user of it, provided that the handle is not spent.
 * 0, EINVAL or ESRCH as PyThread_join_thread documents them.
 */
int thread_slot_enter(PyThread_handle_t handle, struct thread **slot)
{
    unsigned number = handle & ((1U << NUMBER_BITS) - 1);
    unsigned long long use = handle >> NUMBER_BITS;
    /* Acquire: pairs with slot_make, so that the chunk of a counted number is there. */
    if (use == 0 || number >= atomic_load_explicit(&slots, memory_order_acquire)) {
        return ESRCH;
    }
    *slot = slot_at(number);
    unsigned long long word = atomic_load_explicit(&(*slot)->word, memory_order_acquire);
    do {
        unsigned long long now = word / USE + 1;
        if (use < now || (use == now && (word & SPENT) != 0)) {
            return EINVAL;
        }
        if (use > now || (word & COUNT_MASK) == 0) {
            return ESRCH;
        }
        /* If the slot goes to another use after this look, the exchange fails. */
        if (atomic_load_explicit(&(*slot)->epoch, memory_order_relaxed) != fork_epoch()) {
            return ESRCH;
        }
        /* Acquire: the slot is as its start set it up. */
    } while (!atomic_compare_exchange_weak_explicit(&(*slot)->word, &word, word + 1,
                                                    memory_order_acquire, memory_order_acquire));
    return 0;
}

/* Spends the handle of a slot that the caller entered, and leaves it. Whether this spent it. */
bool thread_slot_spend(struct thread *slot)
{
    unsigned long long before = atomic_fetch_or_explicit(&slot->word, SPENT, memory_order_relaxed);
    if ((before & SPENT) == 0) {
        /* The handle's own place in the count; ours keeps it above zero. */
        atomic_fetch_sub_explicit(&slot->word, 1, memory_order_relaxed);
    }
    thread_slot_leave(slot);
    return (before & SPENT) == 0;
}

void thread_slots_count(size_t *threads, size_t *handles)
{
    unsigned count = atomic_load_explicit(&slots, memory_order_acquire);
    for (unsigned i = 0; i < count; i++) {
        struct thread *slot = slot_at(i);
        unsigned long long word = atomic_load_explicit(&slot->word, memory_order_acquire);
        if ((word & COUNT_MASK) != 0 &&
            atomic_load_explicit(&slot->epoch, memory_order_relaxed) == fork_epoch()) {
            *handles += (word & SPENT) == 0;
            *threads += atomic_load_explicit(&slot->state, memory_order_relaxed) != THREAD_ENDED;
        }
    }
}
