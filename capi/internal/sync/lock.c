/*
 * lock.c - locks: binary semaphores in one word, and the waits for them.
 *
 * Why C: a free lock costs a C caller one exchange, a signal handler can end a wait, and locks work
 * in the child of a fork.
 *
 * The word of a lock has one of four values:
 *
 *   FREE       no thread holds the lock, and any thread may take it
 *   HELD       a thread holds it, and no waiter sleeps
 *   CONTENDED  a thread holds it, and a waiter may sleep
 *   RESERVED   no thread holds it, and only a waiter that has slept may take it
 *
 * Three rules:
 *
 *   - A waiter sleeps only while the word is CONTENDED or RESERVED.
 *   - A waiter in wait_asleep takes the lock as CONTENDED, because other waiters may sleep.
 *   - The release of a CONTENDED lock wakes one waiter.
 *
 * Invariant: while a waiter sleeps, the word is CONTENDED or RESERVED, or a thread is awake that
 * looks after the waiters. That thread is about to set one of these words, to take the lock, or to
 * wake a waiter. So no wake-up is lost. lock_model.pml in ctest is the same algorithm in Promela,
 * checked in every interleaving.
 *
 * The other fields are hints: when to spin and when to hand over. The lock is correct with any
 * value of them. So the child of a fork may use a lock with the values that the parent's threads
 * left there. Its word may be CONTENDED although no waiter sleeps, which costs one useless wake-up.
 *
 * Callers: C programs, dump.c, lock.go.
 */
#include "lock.h"

#include "critical.h"
#include "identity.h"
#include "status.h"
#include "system/os.h"
#include "system/tsan.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>

const long long PY_TIMEOUT_MAX = LLONG_MAX / 1000;

struct lock {
    atomic_uint word;
    atomic_uint sleepers;      /* threads in wait_asleep */
    atomic_int last_waker;     /* the processor of the last release that woke a waiter, or -1 */
    atomic_uint last_handover; /* when a release last made the word RESERVED, by coarse_now */
    atomic_ullong holder;      /* the ident of the last holder, for a dump; 0: Go code */
};

/* lock.go changes the word from FREE to HELD and back itself, as lock.h says. */
_Static_assert(offsetof(struct lock, word) == 0 && sizeof(atomic_uint) == 4 &&
                   offsetof(struct lock, holder) == LOCK_HOLDER_OFFSET,
               "a lock is as lock.h says");

/* As large as a sem_t, which is CPython's lock. If locks were smaller, each two neighbours in
   memory would share a cache line. */
enum { LOCK_SIZE = 32 };
_Static_assert(sizeof(struct lock) <= LOCK_SIZE, "a lock fits its memory");

/* How long to spin before a sleep: not as long as it takes to wake a thread. */
enum { SPIN_NS = 5000 };

/* A lock is handed to a sleeper at most once in this time. A sleeper that does not take the lock
   within this time loses it. */
enum { HAND_OVER_NS = 200000 };

PyThread_type_lock PyThread_allocate_lock(void)
{
    int saved = errno;
    struct lock *lock = malloc(LOCK_SIZE);
    if (lock != NULL) {
        atomic_init(&lock->word, FREE);
        atomic_init(&lock->sleepers, 0);
        atomic_init(&lock->last_waker, -1);
        atomic_init(&lock->last_handover, 0);
        atomic_init(&lock->holder, 0);
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

/* Changes the word to `to` if it is *from, else sets *from to the word. Acquire: what the last
   holder did before its release happens before what the caller does next. */
static bool take(struct lock *lock, unsigned *from, unsigned to)
{
    return atomic_compare_exchange_strong_explicit(&lock->word, from, to, memory_order_acquire,
                                                   memory_order_relaxed);
}

/*
 * Spins for the lock, and reports whether it got the lock. It does not spin in two cases:
 *
 *   - The last thread that woke a waiter ran on the caller's processor. Most likely that thread
 *     holds the lock again, and cannot run while the caller spins there.
 *   - Another waiter sleeps. A spin saves a single waiter two context switches. Beside sleepers, a
 *     waiter that spins only takes the lock from them.
 */
static bool spin(struct lock *lock)
{
    struct os_spin spin = os_spin_begin(SPIN_NS);
    if (atomic_load_explicit(&lock->last_waker, memory_order_relaxed) == os_processor()) {
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

/* Sleeps while the word is RESERVED, but not longer than a sleeper may leave the lock waiting. */
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
    /* True if the waiter may take a RESERVED lock, because it has slept. An interruptible wait
       without limit may take one at once. For the sleep in stand_aside has a deadline. The kernel
       does not restart such a sleep after a handler with SA_RESTART, but it restarts a sleep
       without a deadline. */
    bool entitled = deadline == OS_NO_DEADLINE && intr_flag != 0;
    int ended = 0;
    /* Relaxed, as for all hints. */
    atomic_fetch_add_explicit(&lock->sleepers, 1, memory_order_relaxed);
    unsigned word = atomic_load_explicit(&lock->word, memory_order_relaxed);
    PyLockStatus status;
    for (;;) {
        if (word == FREE || (word == RESERVED && entitled)) {
            /* As CONTENDED: others may still sleep. This is checked before the end of the
               sleep: an acquired lock counts more than a signal or a deadline. And a waiter that a
               release woke must not leave without the lock or a new wake-up. */
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
            /* Relaxed: this only makes the release wake a waiter, and publishes nothing. */
            if (atomic_compare_exchange_strong_explicit(
                    &lock->word, &word, CONTENDED, memory_order_relaxed, memory_order_relaxed)) {
                word = CONTENDED;
            }
        } else {
            /* If the word has changed meanwhile, the kernel does not begin the sleep. */
            ended = word == RESERVED ? stand_aside(lock, deadline)
                                     : os_wait(&lock->word, CONTENDED, deadline);
            entitled = true;
            word = atomic_load_explicit(&lock->word, memory_order_relaxed);
        }
    }
    atomic_fetch_sub_explicit(&lock->sleepers, 1, memory_order_relaxed);
    return status;
}

static PyLockStatus wait_for(struct lock *lock, long long microseconds, int intr_flag)
{
    int64_t deadline = os_deadline_in_us(microseconds);
    if (spin(lock)) {
        return PY_LOCK_ACQUIRED;
    }
    critical_suspend();
    struct status_wait before = status_wait(WAITS_FOR_LOCK, (uintptr_t)lock);
    PyLockStatus status = wait_asleep(lock, deadline, intr_flag);
    status_wait_ends(before);
    critical_resume();
    return status;
}

/* Notes that the caller, which has acquired the lock, holds it. */
static inline PyLockStatus hold(struct lock *lock)
{
    /* Relaxed: only a dump reads it. */
    atomic_store_explicit(&lock->holder, identity_caller(), memory_order_relaxed);
    tsan_acquire(lock);
    return PY_LOCK_ACQUIRED;
}

/* Acquires a lock whose word was not FREE. It is not inlined, so that the path of a free lock needs
   no stack frame. */
__attribute__((noinline)) static PyLockStatus acquire_taken(struct lock *lock, unsigned word,
                                                            long long microseconds, int intr_flag)
{
    PyLockStatus status = PY_LOCK_FAILURE;
    if (microseconds != 0) {
        status = wait_for(lock, microseconds, intr_flag);
    } else if (word == RESERVED && take(lock, &word, CONTENDED)) {
        /* No thread holds a RESERVED lock, so an attempt that must not wait takes it. */
        status = PY_LOCK_ACQUIRED;
    }
    return status == PY_LOCK_ACQUIRED ? hold(lock) : status;
}

static inline PyLockStatus acquire(struct lock *lock, long long microseconds, int intr_flag)
{
    unsigned word = FREE;
    if (lock == NULL) {
        return PY_LOCK_FAILURE;
    }
    return take(lock, &word, HELD) ? hold(lock)
                                   : acquire_taken(lock, word, microseconds, intr_flag);
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

/* The time in 32 bits, which every processor reads and writes in one step. It wraps every 73
   minutes. A lock that was last handed over that long ago is then handed over 0.2 ms too late. */
enum { TICK_NS = 1024 };

static unsigned coarse_now(void)
{
    return (unsigned)(os_now_ns() / TICK_NS);
}

/* True if the release of a CONTENDED lock hands the lock to a sleeper. */
static bool hands_over(struct lock *lock)
{
    if (atomic_load_explicit(&lock->sleepers, memory_order_relaxed) == 0) {
        return false;
    }
    unsigned now = coarse_now();
    if (now - atomic_load_explicit(&lock->last_handover, memory_order_relaxed) <
        HAND_OVER_NS / TICK_NS) {
        return false;
    }
    atomic_store_explicit(&lock->last_handover, now, memory_order_relaxed);
    return true;
}

/* Releases a lock whose word is not HELD. False if no thread holds the lock. */
__attribute__((noinline)) static bool release_contended(struct lock *lock)
{
    /* All other fields are read and written before the word changes, because after that the next
       holder may free the lock. The wake-up uses only the address. */
    unsigned word = atomic_load_explicit(&lock->word, memory_order_relaxed);
    unsigned next = word == CONTENDED && hands_over(lock) ? RESERVED : FREE;
    atomic_store_explicit(&lock->last_waker, os_processor(), memory_order_relaxed);
    do {
        if (word == FREE || word == RESERVED) {
            return false;
        }
        /* The word changes meanwhile only if other threads acquire or release at this moment. */
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
    if (lock != NULL) {
        tsan_release(lock);
    }
    /* Release: what the caller did happens before what the next holder does. */
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

bool lock_look(uintptr_t address, PyThread_ident_t *holder)
{
    struct lock lock;
    if (!os_read(&lock, (const void *)address, sizeof lock)) {
        return false;
    }
    unsigned word = atomic_load_explicit(&lock.word, memory_order_relaxed);
    *holder = atomic_load_explicit(&lock.holder, memory_order_relaxed);
    return word == HELD || word == CONTENDED;
}

int _PyThread_at_fork_reinit(PyThread_type_lock *lock)
{
    PyThread_type_lock new_lock = lock == NULL ? NULL : PyThread_allocate_lock();
    if (new_lock == NULL) {
        return -1;
    }
    *lock = new_lock;
    return 0;
}
