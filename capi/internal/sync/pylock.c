/*
 * pylock.c - PyMutex: a lock of one byte, and the parking lot, in which its waiters sleep.
 *
 * Why C: see lock.c. This calls os.h, fork.h, status.h and pythons.h. Callers lock a mutex by
 * critical.c.
 *
 * The byte of a mutex has one of four values:
 *
 *   0                FREE
 *   LOCKED           a thread has the lock
 *   LOCKED | PARKED  a thread has it, and the unlock must wake the first waiter
 *   RESERVED         no thread has it, and only the waiter that is awake may take it
 *
 * Code that was compiled with CPython's header or ours changes FREE to LOCKED and back itself, and
 * calls functions for everything else. pythread/mutex.go is the same algorithm for goroutines.
 *
 * The byte has no room for a queue. The waiters of a mutex are in the bucket of its address, in the
 * order in which they came. A waiter that was woken stays the first until it has settled: it checks
 * the byte again under the bucket's lock. While a waiter is awake, the byte need not show those
 * that sleep. So other threads lock and unlock at full speed in the microseconds until the waiter
 * runs.
 *
 * These rules hold while no thread holds the bucket's lock:
 *
 *   1. If the byte is LOCKED | PARKED, waiters sleep and none is awake.
 *   2. If the byte is RESERVED, a waiter is awake.
 *   3. If waiters sleep, a thread has the duty to wake them, so no wake-up is lost. The next unlock
 *      has it if the byte is LOCKED | PARKED, else the waiter that is awake. The unlock gives the
 *      duty to the waiter that it wakes. That waiter settles: it takes the lock, sleeps again or
 *      leaves, and makes the byte LOCKED | PARKED if others sleep.
 *
 * Without the bucket's lock the byte changes only from FREE or RESERVED to LOCKED, and from LOCKED
 * to FREE. So an unlock does not use the byte after it has freed it. The memory of a mutex may be
 * freed as soon as the last of its users has unlocked it.
 *
 * An unlock never gives the lock to a waiter, because all threads would wait until the waiter runs.
 * Instead the byte is RESERVED at times, and a waiter that is late loses the reservation.
 * pylock_model.pml in ctest is the same algorithm in Promela, checked in every interleaving.
 */
#include "mutex.h"

#include "pythons.h"
#include "status.h"
#include "system/fork.h"
#include "system/os.h"
#include "system/tsan.h"

#include <errno.h>
#include <stdlib.h>

#undef PyMutex_Unlock
#undef PyMutex_IsLocked

enum { FREE = MUTEX_FREE, LOCKED = MUTEX_LOCKED, PARKED = 2, RESERVED = MUTEX_RESERVED };

/* How long to spin before a sleep: not as long as it takes to wake a thread. */
enum { SPIN_NS = 5000 };

/* ------------------------------------------------------------------------ the byte */

/* Makes the byte `to` if it is *from, else sets *from to what it is. Acquire: what the last holder
   did happens before what the caller does next. Release: the other way round. */
static bool change(PyMutex *m, uint8_t *from, uint8_t to)
{
    return __atomic_compare_exchange_n(&m->_bits, from, to, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

static uint8_t look(PyMutex *m)
{
    return __atomic_load_n(&m->_bits, __ATOMIC_RELAXED);
}

/* ------------------------------------------------------------------------ the parking lot */

/*
 * A bucket has the waiters of all mutexes whose addresses fall to it: a list of the first waiters,
 * one for each mutex, and behind each the others of the same mutex.
 *
 * Who is in has the bucket's lock, which is the epoch of its process, and twice as much: the child
 * of a fork takes the lock from those that it does not have, and forgets the waiters.
 */
static struct bucket {
    _Alignas(64) atomic_uint lock; /* 0, or twice the holder's epoch; plus 1 where others sleep */
    unsigned epoch;
    struct waiter *firsts;
    /* Advice, for all mutexes here: the processor, plus 1, of the last unlock that woke a waiter,
       and when the byte was last RESERVED. */
    atomic_int last_waker;
    int64_t reserved;
} buckets[256];

static struct bucket *bucket_of(const PyMutex *m)
{
    /* The high bits of the product depend on all bits of the address. */
    return &buckets[(uint64_t)(uintptr_t)m * 0x9E3779B97F4A7C15 >> 56];
}

static struct bucket *enter(const PyMutex *m)
{
    struct bucket *bucket = bucket_of(m);
    unsigned mine = 2 * fork_epoch(), now = 0, next = mine;
    /* Acquire: what the last one did in the bucket has happened. */
    while (!atomic_compare_exchange_weak_explicit(&bucket->lock, &now, next, memory_order_acquire,
                                                  memory_order_relaxed)) {
        if ((now | 1) == (mine | 1)) {
            /* As others may sleep beside the caller, it takes the lock as one for which they do.
               Relaxed: this only tells the holder to wake one. */
            if (now == (mine | 1) ||
                atomic_compare_exchange_weak_explicit(&bucket->lock, &now, mine | 1,
                                                      memory_order_relaxed, memory_order_relaxed)) {
                os_wait(&bucket->lock, mine | 1, OS_NO_DEADLINE);
            }
            next = mine | 1;
            now = 0;
        }
    }
    if (bucket->epoch != mine) {
        bucket->epoch = mine;
        bucket->firsts = NULL;
    }
    return bucket;
}

static void leave(struct bucket *bucket)
{
    /* Release: pairs with enter. */
    if (atomic_exchange_explicit(&bucket->lock, 0, memory_order_release) & 1) {
        os_wake(&bucket->lock, 1);
    }
}

/* The link to the first waiter of a mutex; to NULL where it has none. */
static struct waiter **find(struct bucket *bucket, const PyMutex *m)
{
    struct waiter **link = &bucket->firsts;
    while (*link != NULL && (*link)->mutex != m) {
        link = &(*link)->next_first;
    }
    return link;
}

static void append(struct waiter **link, struct waiter *w)
{
    struct waiter *first = *link;
    w->next = NULL;
    if (first == NULL) {
        w->previous = NULL;
        w->next_first = NULL; /* the link is the list's end */
        w->last = w;
        *link = w;
    } else {
        w->previous = first->last;
        first->last->next = w;
        first->last = w;
    }
}

static void remove_from(struct waiter **link, struct waiter *w)
{
    struct waiter *first = *link;
    if (w->next != NULL) {
        w->next->previous = w->previous;
    } else {
        first->last = w->previous;
    }
    if (w->previous != NULL) {
        w->previous->next = w->next;
    } else if (w->next != NULL) {
        w->next->next_first = w->next_first;
        w->next->last = w->last;
        *link = w->next;
    } else {
        *link = w->next_first;
    }
}

static bool is_awake(struct waiter *w)
{
    return atomic_load_explicit(&w->word, memory_order_relaxed) == AWAKE;
}

/* ------------------------------------------------------------------------ waiters */

struct settled mutex_settle(struct waiter *w, enum wish wish)
{
    PyMutex *m = w->mutex;
    struct bucket *bucket = enter(m);
    struct waiter **link = find(bucket, m), *first = *link;
    bool is_in = w->epoch == bucket->epoch, was_awake = is_in && is_awake(w);
    bool other_is_awake = first != NULL && first != w && is_awake(first);
    bool others = first != NULL && (first != w || w->next != NULL);
    bool is_free, stays;
    uint8_t now = look(m), next;
    do {
        /* Who does not wait, or has waited long enough, takes a lock that is RESERVED. */
        is_free = now == FREE || (now == RESERVED && (was_awake || wish != STAY));
        stays = !is_free && wish != LEAVE;
        next = LOCKED;
        if (stays && now == RESERVED) {
            next = RESERVED; /* The waiter that is awake has the duty. */
        } else if ((stays || others) && !other_is_awake) {
            next = LOCKED | PARKED;
        }
    } while (!change(m, &now, next));
    if (stays && !is_in) {
        append(link, w);
    } else if (!stays && is_in) {
        remove_from(link, w);
    }
    w->epoch = stays ? bucket->epoch : 0;
    atomic_store_explicit(&w->word, ASLEEP, memory_order_relaxed);
    leave(bucket);
    return (struct settled){
        .has_lock = is_free, .was_woken = was_awake, .is_reserved = next == RESERVED};
}

/* True where the waiter that an unlock wakes has the byte reserved. */
static bool reserves(struct bucket *bucket)
{
    int64_t now = os_now_ns();
    if (now - bucket->reserved < MUTEX_RESERVE_NS) {
        return false;
    }
    bucket->reserved = now;
    return true;
}

/* Frees the byte, which was not LOCKED, and wakes the first waiter; a goroutine is left to the
   caller. False where the mutex is not locked. */
static bool unlock(PyMutex *m, struct waiter **goroutine)
{
    atomic_uint *word = NULL;
    *goroutine = NULL;
    struct bucket *bucket = enter(m);
    /* The parent's waiters, of which the byte tells in the child of a fork, do not exist. */
    struct waiter *first = *find(bucket, m);
    uint8_t next = first != NULL && reserves(bucket) ? RESERVED : FREE;
    uint8_t now = LOCKED;
    while (!change(m, &now, now == LOCKED ? FREE : next)) {
        if (now == FREE || now == RESERVED) {
            leave(bucket);
            return false;
        }
    }
    if (now != LOCKED && first != NULL) {
        /* A thread looks at its word under the bucket's lock, and a goroutine waits for the caller.
           Till then they are there. */
        if (first->goroutine != 0) {
            *goroutine = first;
        } else {
            word = &first->word;
        }
        atomic_store_explicit(&first->word, AWAKE, memory_order_relaxed);
        atomic_store_explicit(&bucket->last_waker, os_processor() + 1, memory_order_relaxed);
    }
    leave(bucket);
    if (word != NULL) {
        os_wake(word, 1); /* It reads no memory. */
    }
    return true;
}

/* Sleeps until the waiter was woken, and returns what it wishes then. */
static enum wish sleep_in_lot(struct waiter *w, int64_t deadline, bool is_reserved, int intr_flag,
                              int *ended)
{
    int64_t lapse = is_reserved ? os_deadline_in(MUTEX_RESERVE_NS) : deadline;
    int64_t until = lapse < deadline ? lapse : deadline;
    for (;;) {
        *ended = os_wait(&w->word, ASLEEP, until);
        if (atomic_load_explicit(&w->word, memory_order_relaxed) == AWAKE) {
            return STAY;
        }
        if (*ended == ETIMEDOUT) {
            return until == deadline ? LEAVE : LAPSED;
        }
        if (*ended == EINTR && intr_flag != 0) {
            return LEAVE;
        }
        if (w->epoch != 2 * fork_epoch()) {
            return STAY; /* A handler has forked, and the lot of the child knows no waiter. */
        }
    }
}

static PyLockStatus wait_parked(PyMutex *m, int64_t deadline, int intr_flag)
{
    struct waiter self = {.mutex = m};
    struct settled settled;
    int ended = 0;
    /* An endless interruptible wait does not stand aside: the kernel does not restart a sleep with
       a deadline after a handler with SA_RESTART, as it does an endless one. */
    enum wish wish = deadline == OS_NO_DEADLINE && intr_flag != 0 ? LAPSED : STAY;
    while (settled = mutex_settle(&self, wish), !settled.has_lock) {
        if (wish == LEAVE) {
            return ended == EINTR ? PY_LOCK_INTR : PY_LOCK_FAILURE;
        }
        wish = sleep_in_lot(&self, deadline, settled.is_reserved, intr_flag, &ended);
    }
    return PY_LOCK_ACQUIRED;
}

/* It does not spin where waiters sleep, nor where the last thread that woke a waiter ran on the
   caller's processor. Most likely the same thread holds the lock again, and it cannot run while the
   caller spins there. */
bool mutex_spin(PyMutex *m)
{
    struct os_spin spin = os_spin_begin(SPIN_NS);
    if (atomic_load_explicit(&bucket_of(m)->last_waker, memory_order_relaxed) ==
        os_processor() + 1) {
        return false;
    }
    /* Each look takes the cache line from the holder: so the pauses get longer. */
    for (int pause = 1;; pause *= 2) {
        uint8_t now = look(m);
        if (now == FREE && mutex_take(m, FREE)) {
            return true;
        }
        for (int i = 0; i < pause; i++) {
            if ((now & PARKED) || !os_spin(&spin)) {
                return false;
            }
        }
    }
}

bool mutex_try(PyMutex *m)
{
    if (pythons.lock == NULL) {
        return mutex_take(m, RESERVED);
    }
    /* Python leaves the byte PARKED until the waiter that it has woken runs. */
    uint8_t now = look(m);
    return !(now & LOCKED) && change(m, &now, now | LOCKED);
}

/* Locks a mutex whose unlock, which is Python's, wakes no waiter of this library. As Python does,
   it gives up the GIL meanwhile. */
static PyLockStatus wait_for_pythons(PyMutex *m, int64_t deadline)
{
    if (deadline == OS_NO_DEADLINE) {
        pythons.lock(m);
        return PY_LOCK_ACQUIRED;
    }
    struct _ts *state = pythons_is_attached() ? pythons.save() : NULL;
    bool has_lock;
    while (!(has_lock = mutex_try(m)) && os_now_ns() < deadline) {
        os_sleep_a_millisecond();
    }
    if (state != NULL) {
        pythons.restore(state);
    }
    return has_lock ? PY_LOCK_ACQUIRED : PY_LOCK_FAILURE;
}

PyLockStatus mutex_wait(PyMutex *m, int64_t deadline, int intr_flag)
{
    struct status_wait before = status_wait(WAITS_FOR_MUTEX, (uintptr_t)m);
    PyLockStatus status =
        pythons.lock == NULL ? wait_parked(m, deadline, intr_flag) : wait_for_pythons(m, deadline);
    status_wait_ends(before);
    return status;
}

/* ------------------------------------------------------------------------ goroutines */

/* Those that are to be woken, the last one first, and whether somebody has rung since the bell
   slept last. A child of a fork has neither. */
static _Atomic(struct waiter *) to_wake;
static atomic_uint rung;

static void ring_for(struct waiter *w)
{
    /* Release: who takes the waiter reads what is behind it. The exchange and the load in
       mutex_bell are in one order with these two: either the bell finds the waiter, or this finds
       that the bell may sleep. */
    w->rung_before = atomic_load_explicit(&to_wake, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&to_wake, &w->rung_before, w)) {
    }
    if (atomic_exchange(&rung, 1) == 0) {
        os_wake(&rung, 1);
    }
}

struct waiter *mutex_bell(void)
{
    struct waiter *last, *batch = NULL;
    while (atomic_store(&rung, 0), (last = atomic_exchange(&to_wake, NULL)) == NULL) {
        os_wait(&rung, 0, OS_NO_DEADLINE);
    }
    while (last != NULL) {
        struct waiter *next = last->rung_before;
        last->rung_before = batch;
        batch = last;
        last = next;
    }
    return batch;
}

bool mutex_unlock(PyMutex *m, uintptr_t *goroutine)
{
    struct waiter *w;
    bool was_locked = unlock(m, &w);
    *goroutine = was_locked && w != NULL ? w->goroutine : 0;
    return was_locked;
}

/* ------------------------------------------------------------------------ public functions */

void PyMutex_Unlock(PyMutex *m)
{
    uint8_t locked = LOCKED;
    struct waiter *goroutine;
    tsan_release(m);
    if (change(m, &locked, FREE)) {
        return;
    }
    if (pythons.unlock != NULL) {
        pythons.unlock(m);
        return;
    }
    if (!unlock(m, &goroutine)) {
        os_write_error("Fatal Python error: PyMutex_Unlock: unlocking mutex that is not locked\n");
        abort();
    }
    if (goroutine != NULL) {
        ring_for(goroutine);
    }
}

int PyMutex_IsLocked(PyMutex *m)
{
    return (look(m) & LOCKED) != 0;
}
