/*
 * lock.c - locks: binary semaphores in one word, and the waits for them.
 *
 * The word is FREE, HELD, CONTENDED (held, and someone may sleep) or RESERVED
 * (not held, but only for one who sleeps). Nobody sleeps but on CONTENDED or
 * RESERVED, who takes the lock on the way of sleeping takes it as CONTENDED,
 * and who ends CONTENDED wakes one. Invariant: while a thread sleeps, the word
 * is CONTENDED or RESERVED, or a thread that is awake is about to make it so,
 * to take the lock or to wake one: no wake-up is lost. lock_model.pml in ctest
 * is the same in Promela, checked in every interleaving.
 *
 * All else in a lock is advice, when to spin and when to hand over. Any value
 * of it is right, so a child of a fork may find it as the threads that it does
 * not have left it; only the word counts, and it says CONTENDED too often
 * rather than too seldom.
 */
#include "lock.h"

#include "os.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>

const long long PY_TIMEOUT_MAX = LLONG_MAX / 1000;

struct lock {
    atomic_uint word;
    atomic_uint sleepers; /* threads in wait_asleep */
    atomic_int releaser;  /* the processor of the last release that woke one; -1: none yet */
    atomic_uint handed;   /* when a release last made the word RESERVED, on coarse_now's clock */
};

/* lock.go changes the word from FREE to HELD and back by itself, as lock.h allows. */
_Static_assert(offsetof(struct lock, word) == 0 && sizeof(atomic_uint) == 4,
               "a lock begins with its word, of 32 bits");

/* With malloc's own word a cache line: no two locks share one, and it costs no more memory. */
enum { LOCK_SIZE = 64 - sizeof(size_t) };
_Static_assert(sizeof(struct lock) <= LOCK_SIZE, "a lock fits its cache line");

/* How long to spin before sleeping: shorter than waking a thread on another processor takes. */
enum { SPIN_NS = 5000 };

/* How often a lock is handed over, and how long it waits for whom it was handed to. */
enum { HAND_OVER_NS = 200000 };

PyThread_type_lock PyThread_allocate_lock(void)
{
    int saved = errno;
    struct lock *lock = malloc(LOCK_SIZE);
    if (lock != NULL) {
        atomic_init(&lock->word, FREE);
        atomic_init(&lock->sleepers, 0);
        atomic_init(&lock->releaser, -1);
        atomic_init(&lock->handed, 0);
    }
    errno = saved;
    return lock;
}

void PyThread_free_lock(PyThread_type_lock lock)
{
    int saved = errno;
    free(lock);
    errno = saved;
}

/* Makes the word `to` if it is *from, else sets *from to what it is. Acquire: what the one who
   released the lock did happens before what we do with it. */
static bool take(struct lock *lock, unsigned *from, unsigned to)
{
    return atomic_compare_exchange_strong_explicit(&lock->word, from, to, memory_order_acquire,
                                                   memory_order_relaxed);
}

/*
 * Spins until the lock is ours, in vain or not. Not where the one who released
 * it last ran on this processor: it is likely to be the one who releases it
 * next, and does not run while we do. Nor while someone sleeps for the lock:
 * what spinning wins is the two context switches of a thread that waits alone.
 */
static bool spin(struct lock *lock)
{
    struct os_spin spin = os_spin_begin(SPIN_NS);
    if (atomic_load_explicit(&lock->releaser, memory_order_relaxed) == os_processor()) {
        return false;
    }
    while (atomic_load_explicit(&lock->sleepers, memory_order_relaxed) == 0 && os_spin(&spin)) {
        unsigned word = atomic_load_explicit(&lock->word, memory_order_relaxed);
        if (word == FREE && take(lock, &word, HELD)) {
            return true;
        }
    }
    return false;
}

/* Sleeps on a word that is RESERVED until it is not, or the one whom it is for does not come. */
static int stand_aside(struct lock *lock, int64_t deadline)
{
    int64_t lapse = os_deadline_in(HAND_OVER_NS);
    if (deadline < lapse) {
        return os_wait(&lock->word, RESERVED, deadline);
    }
    int ended = os_wait(&lock->word, RESERVED, lapse);
    return ended == ETIMEDOUT ? 0 : ended;
}

static PyLockStatus wait_asleep(struct lock *lock, int64_t deadline, int intr_flag)
{
    /* Whom a RESERVED lock is for: who has slept. So is, without having slept, a wait that only a
       handler without SA_RESTART may end, since there is no such sleep until the lock lapses. */
    bool entitled = deadline == OS_NO_DEADLINE && intr_flag != 0;
    int ended = 0;
    /* Relaxed, as is all advice. */
    atomic_fetch_add_explicit(&lock->sleepers, 1, memory_order_relaxed);
    unsigned word = atomic_load_explicit(&lock->word, memory_order_relaxed);
    PyLockStatus status;
    for (;;) {
        if (word == FREE || (word == RESERVED && entitled)) {
            /* CONTENDED: others may sleep still, and it is we who know. Before the end of the
               wait is looked at: success beats a signal, and who was woken has no other end. */
            if (take(lock, &word, CONTENDED)) {
                status = PY_LOCK_ACQUIRED;
                break;
            }
        } else if (ended == ETIMEDOUT) {
            status = PY_LOCK_FAILURE;
            break;
        } else if (ended == EINTR && intr_flag != 0) {
            status = PY_LOCK_INTR;
            break;
        } else if (word == HELD) {
            /* Relaxed: it tells the holder to wake us, no more. On failure the word is read. */
            if (atomic_compare_exchange_strong_explicit(
                    &lock->word, &word, CONTENDED, memory_order_relaxed, memory_order_relaxed)) {
                word = CONTENDED;
            }
        } else {
            /* A word that changed meanwhile ends the sleep before it begins. */
            ended = word == RESERVED ? stand_aside(lock, deadline)
                                     : os_wait(&lock->word, CONTENDED, deadline);
            entitled = true;
            word = atomic_load_explicit(&lock->word, memory_order_relaxed);
        }
    }
    atomic_fetch_sub_explicit(&lock->sleepers, 1, memory_order_relaxed);
    return status;
}

/* Out of line, so that the way of a free lock has no frame on the stack. */
__attribute__((noinline)) static PyLockStatus wait_for(struct lock *lock, long long microseconds,
                                                       int intr_flag)
{
    int64_t deadline = OS_NO_DEADLINE;
    if (microseconds > 0) {
        microseconds = microseconds < PY_TIMEOUT_MAX ? microseconds : PY_TIMEOUT_MAX;
        deadline = os_deadline_in(microseconds * 1000);
    }
    return spin(lock) ? PY_LOCK_ACQUIRED : wait_asleep(lock, deadline, intr_flag);
}

static inline PyLockStatus acquire(struct lock *lock, long long microseconds, int intr_flag)
{
    unsigned word = FREE;
    if (lock == NULL) {
        return PY_LOCK_FAILURE;
    }
    if (take(lock, &word, HELD)) {
        return PY_LOCK_ACQUIRED;
    }
    if (microseconds != 0) {
        return wait_for(lock, microseconds, intr_flag);
    }
    /* Nobody holds a RESERVED lock, and who may not wait cannot wait for it to lapse. */
    return word == RESERVED && take(lock, &word, CONTENDED) ? PY_LOCK_ACQUIRED : PY_LOCK_FAILURE;
}

PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock, PY_TIMEOUT_T microseconds,
                                         int intr_flag)
{
    return acquire(lock, microseconds, intr_flag);
}

int PyThread_acquire_lock(PyThread_type_lock lock, int wait)
{
    return acquire(lock, wait != NOWAIT_LOCK ? -1 : 0, 0) == PY_LOCK_ACQUIRED;
}

/* The time in a word that every processor reads and writes in one step. It comes back after 73
   minutes: a lock that was handed over that long ago is handed over 0.2 ms later than it could. */
enum { TICK_NS = 1024 };

static unsigned coarse_now(void)
{
    return (unsigned)(os_now_ns() / TICK_NS);
}

/* Whether the release of a CONTENDED lock hands it over. */
static bool hands_over(struct lock *lock)
{
    if (atomic_load_explicit(&lock->sleepers, memory_order_relaxed) == 0) {
        return false;
    }
    unsigned now = coarse_now();
    if (now - atomic_load_explicit(&lock->handed, memory_order_relaxed) < HAND_OVER_NS / TICK_NS) {
        return false;
    }
    atomic_store_explicit(&lock->handed, now, memory_order_relaxed);
    return true;
}

/* Of a lock that is not HELD. False where it is not held at all. */
__attribute__((noinline)) static bool release_contended(struct lock *lock)
{
    /* The last looks at the lock but for the word: once that is changed, the next holder may free
       it. Waking then is right still, since it reads nothing. */
    unsigned word = atomic_load_explicit(&lock->word, memory_order_relaxed);
    unsigned next = word == CONTENDED && hands_over(lock) ? RESERVED : FREE;
    atomic_store_explicit(&lock->releaser, os_processor(), memory_order_relaxed);
    do {
        if (word == FREE || word == RESERVED) {
            return false;
        }
        /* It changes between only where others release or acquire at the same time. */
    } while (!atomic_compare_exchange_weak_explicit(&lock->word, &word,
                                                    word == CONTENDED ? next : FREE,
                                                    memory_order_release, memory_order_relaxed));
    if (word == CONTENDED) {
        os_wake(&lock->word, 1);
    }
    return true;
}

static inline bool release(struct lock *lock)
{
    unsigned word = HELD;
    /* Release: what we did happens before what the next holder does. */
    return lock != NULL &&
           (atomic_compare_exchange_strong_explicit(&lock->word, &word, FREE, memory_order_release,
                                                    memory_order_relaxed) ||
            release_contended(lock));
}

bool lock_release(PyThread_type_lock lock)
{
    return release(lock);
}

void PyThread_release_lock(PyThread_type_lock lock)
{
    if (!release(lock)) {
        os_write_error("PyThread_release_lock: the lock is not held\n");
    }
}

int _PyThread_at_fork_reinit(PyThread_type_lock *lock)
{
    PyThread_type_lock fresh = lock == NULL ? NULL : PyThread_allocate_lock();
    if (fresh == NULL) {
        return -1;
    }
    *lock = fresh;
    return 0;
}
