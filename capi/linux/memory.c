/*
 * memory.c - memory that is held back, so that the Go runtime is not refused any.
 *
 * Go ends the process when the system has no memory for it: no address space,
 * no further mapping, nothing for malloc. So what Go can need until the next
 * start of a thread is held back here, and the calls by which Go asks for memory
 * (--wrap) fall back on it. Invariant: before a start enters Go, all of it is
 * held; a start for which it cannot be held does not enter Go. The runtime makes
 * these calls on amd64, arm64, loong64 and ppc64le; elsewhere it asks the kernel
 * itself.
 */
#define _GNU_SOURCE
#include "memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

void *__real_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset);
int __real_munmap(void *address, size_t size);
int __wrap_munmap(void *address, size_t size);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void __real_free(void *block);
void __wrap_free(void *block);
int __real_pthread_getattr_np(pthread_t thread, pthread_attr_t *attr);
int __wrap_pthread_getattr_np(pthread_t thread, pthread_attr_t *attr);

/* ------------------------------------------------------------------------ mappings */

/* Guards the variables below. Lock order: whoever holds it takes no other. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
/* The address space that is held back: inaccessible pages, which cost no memory. */
static char *space;
static size_t space_size;
/* The size of the hold while it is intact; 0 once some of it may have been used. */
static atomic_size_t intact;

/* The kernel limits a process's number of mappings, so mappings are held back too: of the first
   pages every other one is readable, which makes each page a mapping by itself. */
enum { MAPPINGS = 64 };

/* With the mutex. Frees the mappings that are held back. */
static void give_mappings(void)
{
    atomic_store_explicit(&intact, 0, memory_order_relaxed);
    mprotect(space, space_size, PROT_NONE);
}

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static bool hold_mappings(void)
{
    size_t page = page_size();
    bool held = true;
    for (size_t i = 1; held && i < MAPPINGS; i += 2) {
        held = mprotect(space + i * page, page, PROT_READ) == 0;
    }
    return held;
}

bool memory_is_held(size_t size)
{
    /* Relaxed: the answer is all that matters, the caller touches none of that memory. */
    return atomic_load_explicit(&intact, memory_order_relaxed) == size;
}

/* With the mutex. Makes the held space as large as size, if it can. True if the space is enough. */
static bool fill_space(size_t size, size_t enough)
{
    if (space_size > size && __real_munmap(space + size, space_size - size) == 0) {
        space_size = size;
    }
    if (space_size < size) {
        char *new =
            __real_mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (new != MAP_FAILED) {
            __real_munmap(space, space_size);
            space = new;
            space_size = size;
        }
    }
    return enough <= space_size && space_size <= size;
}

bool memory_hold(size_t size, size_t enough)
{
    pthread_mutex_lock(&mutex);
    if (!memory_is_held(size)) {
        give_mappings();
        if (fill_space(size, enough) && hold_mappings()) {
            atomic_store_explicit(&intact, size, memory_order_relaxed);
        } else {
            give_mappings();
        }
    }
    bool held = memory_is_held(size);
    pthread_mutex_unlock(&mutex);
    return held;
}

void memory_give_back(void)
{
    pthread_mutex_lock(&mutex);
    give_mappings();
    if (__real_munmap(space, space_size) == 0) {
        space_size = 0;
    }
    pthread_mutex_unlock(&mutex);
}

void *__wrap_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset)
{
    void *mapped = __real_mmap(address, size, protection, flags, file, offset);
    if (mapped == MAP_FAILED) {
        pthread_mutex_lock(&mutex);
        give_mappings();
        size_t left = space_size, pages = (size + page_size() - 1) & -page_size();
        if (address == NULL && pages <= left) {
            /* In place of held pages: were they unmapped first, another thread could get them. */
            left -= pages;
            address = space + left;
            flags |= MAP_FIXED;
        }
        mapped = __real_mmap(address, size, protection, flags, file, offset);
        if (mapped != MAP_FAILED) {
            space_size = left;
        }
        pthread_mutex_unlock(&mutex);
    }
    return mapped;
}

int __wrap_munmap(void *address, size_t size)
{
    int result = __real_munmap(address, size);
    if (result != 0) {
        pthread_mutex_lock(&mutex);
        give_mappings();
        result = __real_munmap(address, size);
        pthread_mutex_unlock(&mutex);
    }
    return result;
}

/* The parent's other threads, one of which may have held the mutex, are not in the child. The held
   space leaks, as inaccessible pages: nobody knows how far the other thread had come with it. */
void memory_after_fork(void)
{
    mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    atomic_store_explicit(&intact, 0, memory_order_relaxed);
    space_size = 0;
}

/* ------------------------------------------------------------------------ blocks */

/*
 * In this library only cgo asks malloc for so little: for three words that a new OS thread of Go's
 * gets, and frees when it starts. Each of Go's processors can be starting an OS thread, and so can
 * two OS threads that have no processor. These blocks also spare address space: an OS thread that
 * calls free gets an arena of the C library's, which is much.
 */
enum { BLOCKS = 64, BLOCK_SIZE = 32, CGO_SIZE = 3 * sizeof(void *) };

static _Alignas(BLOCK_SIZE) char blocks[BLOCKS][BLOCK_SIZE];
static atomic_bool taken[BLOCKS];

void *__wrap_malloc(size_t size)
{
    void *block = NULL;
    for (int i = 0; block == NULL && size <= CGO_SIZE && i < BLOCKS; i++) {
        /* Acquire: pairs with the release in free, so its last user is done with the block. */
        if (!atomic_exchange_explicit(&taken[i], true, memory_order_acquire)) {
            block = blocks[i];
        }
    }
    return block != NULL ? block : __real_malloc(size);
}

void __wrap_free(void *block)
{
    size_t offset = (size_t)((char *)block - blocks[0]);
    if (offset < sizeof blocks) {
        /* Release: see __wrap_malloc. */
        atomic_store_explicit(&taken[offset / BLOCK_SIZE], false, memory_order_release);
    } else {
        __real_free(block);
    }
}

/*
 * cgo asks here for the bounds of the stack, and does without them after an error. It destroys attr
 * in any case; but where the C library runs out of memory it has destroyed attr already.
 */
int __wrap_pthread_getattr_np(pthread_t thread, pthread_attr_t *attr)
{
    int error = __real_pthread_getattr_np(thread, attr);
    if (error != 0) {
        pthread_attr_init(attr);
    }
    return error;
}
