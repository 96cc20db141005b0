//go:build unix

/*
 * os_posix.c - the part of os.h that uses only POSIX. With OS_PORTABLE this is everything except
 * the numbers and names of threads and processors, which POSIX does not have.
 *
 * Invariant of the waits: a thread is in the list of its bucket exactly while it sleeps and no
 * wake-up has reached it. Both change under the bucket's mutex.
 */
#define _GNU_SOURCE
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

int64_t os_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

int64_t os_about_now_ns(void)
{
#ifdef CLOCK_MONOTONIC_COARSE
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
#else
    return os_now_ns();
#endif
}

int os_forbid_cancel(void)
{
    int state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    return state;
}

void os_allow_cancel(int state)
{
    pthread_setcancelstate(state, NULL);
}

int os_create(const char *path)
{
    int saved = errno, state = os_forbid_cancel();
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
    int result = fd >= 0 ? fd : -errno;
    os_allow_cancel(state);
    errno = saved;
    return result;
}

void os_close(int fd)
{
    int saved = errno, state = os_forbid_cancel();
    close(fd);
    os_allow_cancel(state);
    errno = saved;
}

int os_write(int fd, const void *bytes, size_t length)
{
    int saved = errno, state = os_forbid_cancel(), error = 0;
    for (const char *at = bytes; error == 0 && length > 0;) {
        ssize_t written = write(fd, at, length);
        if (written >= 0) {
            at += written;
            length -= (size_t)written;
        } else if (errno != EINTR) {
            error = errno;
        }
    }
    os_allow_cancel(state);
    errno = saved;
    return error;
}

void *os_map(size_t size)
{
    int saved = errno;
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    errno = saved;
    return pages == MAP_FAILED ? NULL : pages;
}

void os_unmap(void *pages, size_t size)
{
    munmap(pages, size);
}

unsigned long os_process_id(void)
{
    return (unsigned long)getpid();
}

#ifndef __linux__

bool os_read(void *to, const void *from, size_t size)
{
    (void)to, (void)from, (void)size;
    return false;
}

bool os_look_at(unsigned long thread_id, char name[OS_NAME_SIZE], bool *runs)
{
    (void)thread_id, (void)name, (void)runs;
    return false;
}

#endif

/* ------------------------------------------------------------------------ keys */

bool os_key_create(os_key *key, void (*destroy)(void *))
{
    pthread_key_t made;
    if (pthread_key_create(&made, destroy) != 0) {
        return false;
    }
    *key = (os_key)made;
    return true;
}

void os_key_delete(os_key key)
{
    pthread_key_delete((pthread_key_t)key);
}

void *os_key_get(os_key key)
{
    return pthread_getspecific((pthread_key_t)key);
}

bool os_key_set(os_key key, void *value)
{
    int saved = errno; /* the C library may allocate memory */
    int failed = pthread_setspecific((pthread_key_t)key, value);
    errno = saved;
    return failed == 0;
}

/* ------------------------------------------------------------------------ forks */

/* These are in a page of their own: the word, and 1, which tells whether the system has cleared the
   page in the child. */
struct fork_words {
    atomic_uint word, kept;
};
static struct fork_words *fork_words;

/*
 * Clears the word in the child of a fork, unless the system has cleared it. After the system, an
 * earlier fork handler may have set the word again, so it must not be cleared twice.
 */
static void clear_fork_word(void)
{
    if (atomic_exchange_explicit(&fork_words->kept, 1, memory_order_relaxed) != 0) {
        atomic_store_explicit(&fork_words->word, 0, memory_order_relaxed);
    }
}

atomic_uint *os_fork_word(void)
{
    static struct fork_words without_page;
    fork_words = &without_page;
#ifdef MADV_WIPEONFORK
    /* Linux clears the page in the child of fork, _Fork and clone. Kernels before 4.14 do not, and
       some emulators only pretend to. There the handler clears the word, after fork only. */
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = os_map(size);
    if (page != NULL) {
        fork_words = page;
        madvise(page, size, MADV_WIPEONFORK);
    }
#endif
    atomic_store_explicit(&fork_words->kept, 1, memory_order_relaxed);
    pthread_atfork(NULL, NULL, clear_fork_word);
    return &fork_words->word;
}

#ifdef OS_PORTABLE

/* ------------------------------------------------------------------------ waits */

/* A thread in os_wait. */
struct sleeper {
    struct sleeper *next;
    atomic_uint *word;
    pthread_cond_t woken_up;
    bool woken;
};

/* The sleepers on all words with one hash, in the order in which they came. */
static struct bucket {
    pthread_mutex_t mutex;
    struct sleeper *first, **end;
} buckets[64];

static pthread_condattr_t monotonic;

/* Called before other threads exist, and in the child of a fork. The child has none of the
   sleepers, and a mutex that a thread of the parent held would stay locked. */
static void empty_buckets(void)
{
    for (size_t i = 0; i < sizeof buckets / sizeof *buckets; i++) {
        pthread_mutex_init(&buckets[i].mutex, NULL);
        buckets[i].first = NULL;
        buckets[i].end = &buckets[i].first;
    }
}

__attribute__((constructor(101))) static void at_load(void)
{
    pthread_condattr_init(&monotonic);
#ifndef __APPLE__
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
#endif
    empty_buckets();
    pthread_atfork(NULL, NULL, empty_buckets);
}

static struct bucket *find_bucket(const atomic_uint *word)
{
    /* Multiplies by 2^64 / the golden ratio and takes the upper bits, which spreads near addresses.
     */
    return &buckets[(uintptr_t)word * UINT64_C(0x9e3779b97f4a7c15) >> 58];
}

/* Removes the sleeper from the list, if it is there. The caller has the mutex of the bucket. */
static void leave(struct bucket *bucket, struct sleeper *sleeper)
{
    struct sleeper **place = &bucket->first;
    while (*place != NULL && *place != sleeper) {
        place = &(*place)->next;
    }
    if (*place != NULL) {
        *place = sleeper->next;
        if (sleeper->next == NULL) {
            bucket->end = place;
        }
    }
}

/* Sleeps, and releases the mutex of the bucket meanwhile. It may return without a reason. */
static void sleep_until(struct sleeper *sleeper, pthread_mutex_t *mutex, int64_t deadline)
{
    if (deadline == OS_NO_DEADLINE) {
        pthread_cond_wait(&sleeper->woken_up, mutex);
        return;
    }
    /* A time_t may have 32 bits. The clock began with the system. */
    const int64_t last = INT64_C(1000000000) * INT32_MAX;
#ifdef __APPLE__ /* which lets no condition choose its clock */
    deadline -= os_now_ns();
#endif
    deadline = deadline < 0 ? 0 : deadline < last ? deadline : last;
    struct timespec time = {(time_t)(deadline / 1000000000), (long)(deadline % 1000000000)};
#ifdef __APPLE__
    pthread_cond_timedwait_relative_np(&sleeper->woken_up, mutex, &time);
#else
    pthread_cond_timedwait(&sleeper->woken_up, mutex, &time);
#endif
}

int os_wait(atomic_uint *word, unsigned expected, int64_t deadline)
{
    int saved = errno, cancel, result = 0;
    struct bucket *bucket = find_bucket(word);
    struct sleeper self = {.word = word};
    /* A wait on a condition could be cancelled, and leave the mutex locked. */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    pthread_mutex_lock(&bucket->mutex);
    /* Relaxed: a thread that changes the word calls os_wake afterwards, which locks the mutex. If
       it locks first, this load sees the change. If it locks later, it finds this thread in the
       list. */
    if (atomic_load_explicit(word, memory_order_relaxed) == expected) {
        pthread_cond_init(&self.woken_up, &monotonic);
        *bucket->end = &self;
        bucket->end = &self.next;
        while (!self.woken && result == 0) {
            sleep_until(&self, &bucket->mutex, deadline);
            if (!self.woken && deadline != OS_NO_DEADLINE && os_now_ns() >= deadline) {
                leave(bucket, &self);
                result = ETIMEDOUT;
            }
        }
        pthread_cond_destroy(&self.woken_up);
    }
    pthread_mutex_unlock(&bucket->mutex);
    pthread_setcancelstate(cancel, NULL);
    errno = saved;
    return result;
}

void os_wake(atomic_uint *word, int count)
{
    int saved = errno;
    struct bucket *bucket = find_bucket(word);
    pthread_mutex_lock(&bucket->mutex);
    for (struct sleeper *next, *sleeper = bucket->first; sleeper != NULL && count > 0;
         sleeper = next) {
        next = sleeper->next;
        if (sleeper->word == word) {
            leave(bucket, sleeper);
            sleeper->woken = true;
            pthread_cond_signal(&sleeper->woken_up);
            count--;
        }
    }
    pthread_mutex_unlock(&bucket->mutex);
    errno = saved;
}

/* ------------------------------------------------------------------------ signals */

static os_signals change_signal_mask(int how, const os_signals *signals)
{
    os_signals before;
    sigemptyset(&before);
    pthread_sigmask(how, signals, &before);
    return before;
}

os_signals os_signal_mask(void)
{
    return change_signal_mask(SIG_BLOCK, NULL);
}

os_signals os_set_signal_mask(os_signals mask)
{
    return change_signal_mask(SIG_SETMASK, &mask);
}

os_signals os_block_signals(void)
{
    os_signals all;
    sigfillset(&all);
    return os_set_signal_mask(all);
}

os_signals os_block_all_signals(void)
{
    return os_block_signals();
}

void os_unblock_signals(os_signals mask)
{
    os_set_signal_mask(mask);
}

os_signals os_with_signal(os_signals signals, int signal)
{
    sigaddset(&signals, signal);
    return signals;
}

bool os_is_any_signal(os_signals signals)
{
    int signal = 1;
    /* sigismember returns -1 for a number that is not a signal. */
    while (sigismember(&signals, signal) == 0) {
        signal++;
    }
    return sigismember(&signals, signal) == 1;
}

void os_discard_signals(void)
{
}

#endif /* OS_PORTABLE */

/* ------------------------------------------------------------------------ numbers and names */

#ifndef __linux__

#if defined(__FreeBSD__) || defined(__OpenBSD__)
#include <pthread_np.h>
#elif defined(__NetBSD__)
#include <lwp.h>
#elif defined(__DragonFly__)
#include <pthread_np.h>
#include <sys/lwp.h>
#elif defined(_AIX)
#include <sys/thread.h>
#endif

struct os_range os_stack(void)
{
    return (struct os_range){0, 0};
}

void os_give_back_stack(uintptr_t low)
{
    (void)low;
}

unsigned long os_thread_id(void)
{
#if defined(__APPLE__)
    uint64_t id = 0;
    pthread_threadid_np(NULL, &id);
    return (unsigned long)id;
#elif defined(__FreeBSD__)
    return (unsigned long)pthread_getthreadid_np();
#elif defined(__NetBSD__)
    return (unsigned long)_lwp_self();
#elif defined(__OpenBSD__)
    return (unsigned long)getthrid();
#elif defined(__DragonFly__)
    return (unsigned long)lwp_gettid();
#elif defined(_AIX)
    return (unsigned long)thread_self();
#else
    return (unsigned long)pthread_self();
#endif
}

void os_get_name(char name[OS_NAME_SIZE])
{
    name[0] = '\0';
#if defined(__APPLE__) || defined(__NetBSD__)
    pthread_getname_np(pthread_self(), name, OS_NAME_SIZE);
#elif defined(__FreeBSD__) || defined(__OpenBSD__)
    pthread_get_name_np(pthread_self(), name, OS_NAME_SIZE);
#endif
}

void os_set_name(const char name[OS_NAME_SIZE])
{
#if defined(__APPLE__)
    pthread_setname_np(name);
#elif defined(__NetBSD__)
    pthread_setname_np(pthread_self(), "%s", (char *)name);
#elif defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__DragonFly__)
    pthread_set_name_np(pthread_self(), name);
#else
    (void)name;
#endif
}

int os_processors(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (int)count : 1;
}

int os_processor(void)
{
    return 0;
}

unsigned long os_move_from(int processor, unsigned long thread_id)
{
    (void)processor, (void)thread_id;
    return 0;
}

void os_set_processors(unsigned long set)
{
    (void)set;
}

#endif
