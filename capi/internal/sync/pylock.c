/*
 * pylock.c - PyMutex, a mutex of one byte, and the parking lot, in which waiters sleep.
 *
 * lock.c says why this is C. critical.c has the functions that lock a mutex.
 *
 * The byte of a mutex has one of four values:
 *
 *   FREE             0: no thread holds the mutex
 *   LOCKED           a thread holds the mutex
 *   LOCKED | PARKED  a thread holds the mutex, and its unlock must wake the first waiter
 *   RESERVED         no thread holds the mutex, and the waiter that is awake should take it
 *
 * Code that was compiled with CPython's header or ours changes FREE to LOCKED and back without a
 * call. In all other cases this code calls the library. pythread/mutex.go gives the byte the same
 * values, but has another rule for when an unlock reserves the mutex.
 *
 * A byte has no space for a queue. So the address of a mutex selects a bucket of the parking lot,
 * and the bucket has the queue. An unlock wakes the first waiter, but does not remove the waiter
 * from the queue. The waiter settles later: under the bucket's lock, it looks at the byte again.
 * Until then the byte need not tell that other waiters sleep. So in these microseconds other
 * threads lock and unlock at full speed.
 *
 * These rules hold while no thread holds the bucket's lock:
 *
 *   1. If the byte is LOCKED | PARKED, waiters sleep and none is awake.
 *   2. If the byte is RESERVED, a waiter is awake.
 *   3. If waiters sleep, a thread has the duty to wake them. So no wake-up is lost. If the byte is
 *      LOCKED | PARKED, the next unlock has the duty. Otherwise the waiter that is awake has it. An
 *      unlock gives the duty to the waiter that it wakes. This waiter settles: it takes the mutex,
 *      sleeps again or leaves. If other waiters sleep then, it makes the byte LOCKED | PARKED.
 *
 * In the child of a fork, a byte may be LOCKED | PARKED or RESERVED although there are no waiters.
 * The unlock of a LOCKED | PARKED mutex then wakes no waiter. A thread that waits for a RESERVED
 * mutex takes the mutex after MUTEX_RESERVE_NS.
 *
 * A thread that does not hold the bucket's lock changes the byte only from FREE or RESERVED to
 * LOCKED, and from LOCKED to FREE. No unlock uses the byte after the change that frees the mutex.
 * So the memory of a mutex may be freed as soon as its last user has unlocked the mutex.
 *
 * An unlock never passes the mutex to a waiter, because all threads would wait until the waiter
 * runs. Instead an unlock sometimes makes the byte RESERVED. A waiter that is late loses the
 * reservation. pylock_model.pml in ctest is the same algorithm in Promela, and spin checks every
 * interleaving of it.
 *
 * Callers: C programs, critical.c, mutex.go.
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

/* How long a thread spins before it sleeps. This is less time than a wake-up takes. */
enum { SPIN_NS = 5000 };

/* ------------------------------------------------------------------------ the byte */

/* Changes the byte to `to` if it is *from. Otherwise sets *from to the byte. Acquire: what the last
   holder did happens before what the caller does next. Release: what the caller did happens before
   what the next holder does. */
static bool change_byte(PyMutex *m, uint8_t *from, uint8_t to)
{
    return __atomic_compare_exchange_n(&m->_bits, from, to, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

/* Returns the byte. Relaxed: the caller uses the value as a hint, or confirms it by change_byte. */
static uint8_t read_byte(PyMutex *m)
{
    return __atomic_load_n(&m->_bits, __ATOMIC_RELAXED);
}

/* ------------------------------------------------------------------------ the parking lot */

/*
 * A bucket has the waiters of all mutexes whose addresses have the same hash. `firsts` is a list of
 * the first waiter of each mutex. Behind each first waiter are the other waiters for its mutex.
 *
 * The value of a held lock contains the epoch of the holder's process. In the child of a fork, a
 * lock may have the epoch of the parent. Then no thread of the child holds this lock. So the child
 * takes the lock, and forgets the parent's waiters.
 */
static struct bucket {
    /* Guards the waiters. 0: free. Otherwise twice the epoch of the holder's process, plus 1 if
       other threads may sleep until the lock is free. */
    _Alignas(64) atomic_uint lock;
    unsigned epoch; /* of the process that the waiters belong to */
    struct waiter *firsts;
    /* Two hints, for all mutexes of the bucket. The first is the processor, plus 1, of the last
       unlock that woke a waiter; 0: none has. The second is when an unlock last decided to reserve
       a mutex. */
    atomic_int last_waker;
    int64_t last_reserved;
} buckets[256];

static struct bucket *bucket_of(const PyMutex *m)
{
    /* The high bits of the product depend on all bits of the address. */
    return &buckets[(uint64_t)(uintptr_t)m * 0x9E3779B97F4A7C15 >> 56];
}

/* Locks the bucket of a mutex, and returns it. */
static struct bucket *enter_bucket(const PyMutex *m)
{
    struct bucket *bucket = bucket_of(m);
    unsigned epoch = fork_epoch(), held = 2 * epoch, held_with_sleepers = held + 1;
    unsigned now = 0, next = held;
    /* Acquire: what the last holder did in the bucket happens before what the caller does. */
    while (!atomic_compare_exchange_weak_explicit(&bucket->lock, &now, next, memory_order_acquire,
                                                  memory_order_relaxed)) {
        if (now == held || now == held_with_sleepers) {
            /* Relaxed: this only tells the holder to wake a sleeper. */
            if (now == held_with_sleepers ||
                atomic_compare_exchange_weak_explicit(&bucket->lock, &now, held_with_sleepers,
                                                      memory_order_relaxed, memory_order_relaxed)) {
                os_wait(&bucket->lock, held_with_sleepers, OS_NO_DEADLINE);
            }
            /* The holder wakes only one sleeper. So from now on the caller assumes that others
               still sleep. */
            next = held_with_sleepers;
            now = 0;
        }
    }
    if (bucket->epoch != epoch) {
        bucket->epoch = epoch;
        bucket->firsts = NULL;
    }
    return bucket;
}

/* Unlocks the bucket. */
static void leave_bucket(struct bucket *bucket)
{
    /* Release: pairs with the acquire of enter_bucket. */
    if (atomic_exchange_explicit(&bucket->lock, 0, memory_order_release) & 1) {
        os_wake(&bucket->lock, 1);
    }
}

/* Returns the link to the first waiter for a mutex. If there is none, returns the list's last link,
   which is NULL. */
static struct waiter **link_to_first(struct bucket *bucket, const PyMutex *m)
{
    struct waiter **link = &bucket->firsts;
    while (*link != NULL && (*link)->mutex != m) {
        link = &(*link)->next_first;
    }
    return link;
}

/* Adds a waiter behind the others for its mutex. `link` is the result of link_to_first. */
static void append(struct waiter **link, struct waiter *w)
{
    struct waiter *first = *link;
    w->next = NULL;
    if (first == NULL) {
        w->previous = NULL;
        w->next_first = NULL; /* the link is the last of the list */
        w->last = w;
        *link = w;
    } else {
        w->previous = first->last;
        first->last->next = w;
        first->last = w;
    }
}

/* Removes a waiter. `link` is the result of link_to_first. */
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
    /* Relaxed: the caller holds the bucket's lock, under which the word is written. */
    return atomic_load_explicit(&w->word, memory_order_relaxed) == AWAKE;
}

/* ------------------------------------------------------------------------ waiters */

struct settled mutex_settle(struct waiter *w, enum wish wish)
{
    PyMutex *m = w->mutex;
    struct bucket *bucket = enter_bucket(m);
    struct waiter **link = link_to_first(bucket, m), *first = *link;
    bool is_in = w->epoch == bucket->epoch; /* false after a signal handler has forked */
    bool was_awake = is_in && is_awake(w);
    bool other_is_awake = first != NULL && first != w && is_awake(first);
    bool others = first != NULL && (first != w || w->next != NULL);
    bool is_free, stays;
    uint8_t now = read_byte(m), next;
    do {
        /* The waiter that is awake takes a RESERVED mutex. So does a waiter that leaves, or that
           has stood aside for long enough. */
        is_free = now == FREE || (now == RESERVED && (was_awake || wish != STAY));
        stays = !is_free && wish != LEAVE;
        next = LOCKED;
        if (stays && now == RESERVED) {
            next = RESERVED; /* The waiter that is awake has the duty to wake this one. */
        } else if ((stays || others) && !other_is_awake) {
            next = LOCKED | PARKED;
        }
    } while (!change_byte(m, &now, next));
    if (stays && !is_in) {
        append(link, w);
    } else if (!stays && is_in) {
        remove_from(link, w);
    }
    w->epoch = stays ? bucket->epoch : 0;
    atomic_store_explicit(&w->word, ASLEEP, memory_order_relaxed);
    leave_bucket(bucket);
    return (struct settled){
        .has_lock = is_free, .was_woken = was_awake, .is_reserved = next == RESERVED};
}

/* Decides whether an unlock reserves the mutex for the waiter that it wakes, and notes this time if
   it does. */
static bool decide_to_reserve(struct bucket *bucket)
{
    int64_t now = os_now_ns();
    if (now - bucket->last_reserved < MUTEX_RESERVE_NS) {
        return false;
    }
    bucket->last_reserved = now;
    return true;
}

/* Unlocks a mutex whose byte may tell of waiters, and wakes the first waiter if it is an OS thread.
   If it is a goroutine, sets *goroutine to the waiter, and the caller must wake the goroutine.
   Returns false if the mutex is not locked. */
static bool unlock_and_wake(PyMutex *m, struct waiter **goroutine)
{
    atomic_uint *word = NULL;
    *goroutine = NULL;
    struct bucket *bucket = enter_bucket(m);
    /* In the child of a fork this may be NULL although the byte tells of waiters. They were threads
       of the parent. */
    struct waiter *first = *link_to_first(bucket, m);
    uint8_t next = first != NULL && decide_to_reserve(bucket) ? RESERVED : FREE;
    uint8_t now = LOCKED;
    while (!change_byte(m, &now, now == LOCKED ? FREE : next)) {
        if (now == FREE || now == RESERVED) {
            leave_bucket(bucket);
            return false;
        }
    }
    if (now != LOCKED && first != NULL) {
        /* The waiter's memory is valid here. A waiter that is an OS thread needs the bucket's lock
           to end its wait. A goroutine ends its wait only after the caller has woken it. */
        if (first->goroutine != 0) {
            *goroutine = first;
        } else {
            word = &first->word;
        }
        atomic_store_explicit(&first->word, AWAKE, memory_order_relaxed);
        atomic_store_explicit(&bucket->last_waker, os_processor() + 1, memory_order_relaxed);
    }
    leave_bucket(bucket);
    if (word != NULL) {
        os_wake(word, 1); /* The waiter may be gone, but os_wake does not read the word. */
    }
    return true;
}

/* Sleeps until the waiter is woken, its time is up or, if intr_flag is set, a signal handler has
   run. While the mutex is reserved for another, sleeps for MUTEX_RESERVE_NS at most. Returns the
   wish for the next mutex_settle, and sets *sleep_result to the result of os_wait. */
static enum wish sleep_in_lot(struct waiter *w, int64_t deadline, bool is_reserved, int intr_flag,
                              int *sleep_result)
{
    int64_t lapse = is_reserved ? os_deadline_in(MUTEX_RESERVE_NS) : deadline;
    int64_t until = lapse < deadline ? lapse : deadline;
    for (;;) {
        *sleep_result = os_wait(&w->word, ASLEEP, until);
        /* Relaxed: the caller settles next, which takes the bucket's lock. */
        if (atomic_load_explicit(&w->word, memory_order_relaxed) == AWAKE) {
            return STAY;
        }
        if (*sleep_result == ETIMEDOUT) {
            return until == deadline ? LEAVE : LAPSED;
        }
        if (*sleep_result == EINTR && intr_flag != 0) {
            return LEAVE;
        }
        if (w->epoch != fork_epoch()) {
            /* A signal handler has forked, and this is the child. Its parking lot is empty. */
            return STAY;
        }
    }
}

static PyLockStatus wait_parked(PyMutex *m, int64_t deadline, int intr_flag)
{
    struct waiter self = {.mutex = m};
    struct settled settled;
    int sleep_result = 0;
    /* An interruptible wait without limit takes even a RESERVED mutex, because to stand aside it
       would sleep with a deadline. The kernel does not restart such a sleep after a handler with
       SA_RESTART, but it restarts a sleep without a deadline. */
    enum wish wish = deadline == OS_NO_DEADLINE && intr_flag != 0 ? LAPSED : STAY;
    while (settled = mutex_settle(&self, wish), !settled.has_lock) {
        if (wish == LEAVE) {
            return sleep_result == EINTR ? PY_LOCK_INTR : PY_LOCK_FAILURE;
        }
        wish = sleep_in_lot(&self, deadline, settled.is_reserved, intr_flag, &sleep_result);
    }
    return PY_LOCK_ACQUIRED;
}

/*
 * Does not spin in two cases:
 *
 *   - The byte tells of waiters, or is RESERVED. The caller would only take the mutex from them.
 *   - The last thread that woke a waiter ran on the caller's processor. Most likely that thread
 *     holds the mutex again, and cannot run while the caller spins there.
 */
bool mutex_spin(PyMutex *m)
{
    struct os_spin spin = os_spin_begin(SPIN_NS);
    if (atomic_load_explicit(&bucket_of(m)->last_waker, memory_order_relaxed) ==
        os_processor() + 1) {
        return false;
    }
    /* Each read of the byte takes the cache line from the holder. So the pauses get longer. */
    for (int pause = 1;; pause *= 2) {
        uint8_t now = read_byte(m);
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
    uint8_t now = read_byte(m);
    return !(now & LOCKED) && change_byte(m, &now, now | LOCKED);
}

/* Locks a mutex of a process whose mutexes are Python's. Python's unlock wakes no waiter of this
   library. So a wait with a deadline looks at the mutex once a millisecond. Like Python's waits, it
   gives up the GIL. */
static PyLockStatus wait_for_pythons(PyMutex *m, int64_t deadline)
{
    if (deadline == OS_NO_DEADLINE) {
        pythons.lock(m);
        return PY_LOCK_ACQUIRED;
    }
    struct _ts *state = pythons_is_attached() ? pythons.save() : NULL;
    bool has_lock;
    while (!(has_lock = mutex_try(m)) && os_now_ns() < deadline) {
        os_sleep(OS_MILLISECOND);
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

/* The goroutines that mutex_bell must return, the last one first. */
static _Atomic(struct waiter *) goroutines_to_wake;

/* 1 if a thread has rung since mutex_bell last began to look for goroutines, else 0. */
static atomic_uint has_rung;

/* Gives a goroutine to mutex_bell. The child of a fork never calls this, because no goroutine waits
   there. */
static void ring_for(struct waiter *w)
{
    /*
     * Release: mutex_bell reads the waiter's fields.
     *
     * The compare-exchange and the exchange here, and the store and the exchange in mutex_bell, are
     * sequentially consistent. So they have one order. If mutex_bell misses the waiter, it has set
     * has_rung to 0 before the exchange here. If it does not sleep yet, it finds that has_rung
     * is 1. If it sleeps, the thread that changed has_rung from 0 to 1 wakes it.
     */
    w->next_to_wake = atomic_load_explicit(&goroutines_to_wake, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&goroutines_to_wake, &w->next_to_wake, w)) {
    }
    if (atomic_exchange(&has_rung, 1) == 0) {
        os_wake(&has_rung, 1);
    }
}

struct waiter *mutex_bell(void)
{
    struct waiter *last, *first = NULL;
    while (atomic_store(&has_rung, 0),
           (last = atomic_exchange(&goroutines_to_wake, NULL)) == NULL) {
        os_wait(&has_rung, 0, OS_NO_DEADLINE);
    }
    /* The list has the last goroutine first. This turns it round. */
    while (last != NULL) {
        struct waiter *before = last->next_to_wake;
        last->next_to_wake = first;
        first = last;
        last = before;
    }
    return first;
}

bool mutex_unlock(PyMutex *m, uintptr_t *goroutine)
{
    struct waiter *w;
    bool was_locked = unlock_and_wake(m, &w);
    *goroutine = was_locked && w != NULL ? w->goroutine : 0;
    return was_locked;
}

/* ------------------------------------------------------------------------ public functions */

void PyMutex_Unlock(PyMutex *m)
{
    uint8_t locked = LOCKED;
    struct waiter *goroutine;
    tsan_release(m);
    if (change_byte(m, &locked, FREE)) {
        return;
    }
    if (pythons.unlock != NULL) {
        pythons.unlock(m);
        return;
    }
    if (!unlock_and_wake(m, &goroutine)) {
        os_write_error("Fatal Python error: PyMutex_Unlock: unlocking mutex that is not locked\n");
        abort();
    }
    if (goroutine != NULL) {
        ring_for(goroutine);
    }
}

int PyMutex_IsLocked(PyMutex *m)
{
    return (read_byte(m) & LOCKED) != 0;
}
