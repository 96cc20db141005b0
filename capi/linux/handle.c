/*
 * handle.c - the table of threads, and the way from a handle to its thread.
 *
 * The record of a thread is a slot of the table. The table only grows, by chunks
 * that are never freed, so that every number that somebody passes as a handle
 * can be checked against its slot without a lock: a handle is the slot's number
 * and how often the slot was used before. Invariant: the slot's word counts its
 * users, which are the thread until it has ended, the handle until it is spent,
 * and each join in progress. Whoever takes the count to zero owns the slot, and
 * gives it back. No step takes a lock, so a fork at any moment leaves the child
 * a sound table.
 */
#include "handle.h"

#include "fork.h"

#include <errno.h>
#include <stdlib.h>

/* The kernel has numbers for 4 million OS threads, so the table has as many slots. */
enum { CHUNK_SLOTS = 256, NUMBER_BITS = 22, CHUNKS = (1 << NUMBER_BITS) / CHUNK_SLOTS };

/* The fields of a slot's word: 23 bits that count its users, a bit that says that the handle is
   spent, and 40 bits that count the slot's earlier uses. */
#define COUNT_MASK ((1ULL << 23) - 1)
#define SPENT (1ULL << 23)
#define USE (1ULL << 24)
#define LAST_USE (UINT64_MAX / USE)

_Static_assert(sizeof(PyThread_handle_t) == 8, "a handle is 22 bits of slot and 41 of uses");

static _Atomic(struct thread *) chunks[CHUNKS];
/* The number of slots that were ever made. */
static atomic_uint slots;
/* The free slots, a stack. The upper half is a tag that every change counts up; the lower half is
   the top slot's number + 1, or 0. */
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
        /* Others may take, use and push the slot meanwhile. Then the tag is another and the
           exchange fails, so a stale next_free is read but never used. To read it is safe, since
           slots are never unmapped. Acquire: pairs with slot_push, so its last user is done with
           the slot. */
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
        /* Release: what the caller did to the slot happens before its next user takes it. */
    } while (!atomic_compare_exchange_weak_explicit(&free_slots, &head, next, memory_order_release,
                                                    memory_order_relaxed));
}

/* Makes a slot. NULL when no memory is left, or 4 million threads exist. */
static struct thread *slot_make(void)
{
    unsigned number = atomic_load_explicit(&slots, memory_order_relaxed);
    do {
        if (number == CHUNKS * CHUNK_SLOTS) {
            return NULL;
        }
        /* The chunk comes before the number: a failure here must not cost a number. */
        _Atomic(struct thread *) *chunk = &chunks[number / CHUNK_SLOTS];
        if (atomic_load_explicit(chunk, memory_order_acquire) == NULL) {
            struct thread *none = NULL, *made = calloc(CHUNK_SLOTS, sizeof *made);
            if (made == NULL) {
                return NULL;
            }
            /* Release: publishes the zeroed slots to slot_at. */
            if (!atomic_compare_exchange_strong_explicit(chunk, &none, made, memory_order_release,
                                                         memory_order_relaxed)) {
                free(made);
            }
        }
        /* Release: whoever sees that the number is counted sees its chunk. */
    } while (!atomic_compare_exchange_weak_explicit(&slots, &number, number + 1,
                                                    memory_order_release, memory_order_relaxed));
    struct thread *slot = slot_at(number);
    slot->number = number;
    return slot;
}

struct thread *thread_slot_new(PyThread_handle_t *handle)
{
    struct thread *slot = slot_pop();
    if (slot == NULL && (slot = slot_make()) == NULL) {
        return NULL;
    }
    unsigned long long word = atomic_load_explicit(&slot->word, memory_order_relaxed);
    if (handle != NULL) {
        /* In a handle, uses count from 1, so that no handle is 0. */
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

void thread_slot_leave(struct thread *slot)
{
    /* Release: what this user did to the slot happens before the slot is used again. Acquire, for
       the user that takes the count to zero: so does what all the others did. */
    unsigned long long word = atomic_fetch_sub_explicit(&slot->word, 1, memory_order_acq_rel) - 1;
    if ((word & COUNT_MASK) != 0) {
        return;
    }
    /* The handle is spent and there is no user, so the slot is the caller's. One use more makes
       all handles of this use stale. After LAST_USE the count would start again and make the first
       handles valid: such a slot is not used again. */
    if (word / USE < LAST_USE) {
        atomic_store_explicit(&slot->word, (word | (USE - 1)) + 1, memory_order_relaxed);
        slot_push(slot);
    }
}

int thread_slot_enter(PyThread_handle_t handle, struct thread **slot)
{
    unsigned number = handle & ((1U << NUMBER_BITS) - 1);
    unsigned long long use = handle >> NUMBER_BITS;
    /* Acquire: pairs with slot_make, so that the chunk of a counted slot is there. */
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
        /* If the slot goes to another use after this check, the exchange fails. */
        if (atomic_load_explicit(&(*slot)->epoch, memory_order_relaxed) != fork_epoch()) {
            return ESRCH;
        }
        /* Acquire: pairs with thread_slot_new, so the slot is as that set it up. */
    } while (!atomic_compare_exchange_weak_explicit(&(*slot)->word, &word, word + 1,
                                                    memory_order_acquire, memory_order_acquire));
    return 0;
}

bool thread_slot_spend(struct thread *slot)
{
    /* Relaxed: the operation alone decides who spends the handle, and thread_slot_leave orders what
       the caller did. */
    unsigned long long before = atomic_fetch_or_explicit(&slot->word, SPENT, memory_order_relaxed);
    if ((before & SPENT) == 0) {
        /* The handle is no user any more. The caller still is, so the count stays above zero. */
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
