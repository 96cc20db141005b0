/*
 * malloc_test.c - a malloc of the program's own calls the library: locks, idents and reads of
 * storage never call malloc.
 */
#define _GNU_SOURCE
#include "threads.h"

static atomic_bool calls_library;
static PyThread_type_lock lock;
static Py_tss_t key = Py_tss_NEEDS_INIT;
static long calls; /* guarded by the lock */

#if !UNDER_ASAN && !UNDER_TSAN /* they have their own */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void __libc_free(void *memory);

/* Each call of malloc holds the lock. So a call of malloc by these functions would hang, or come
   here twice. */
static void enter(void)
{
    static _Thread_local bool is_here;
    if (atomic_load(&calls_library)) {
        CHECK(!is_here);
        is_here = true;
        EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
        EQ(PyThread_acquire_lock_timed(lock, 1, 0), PY_LOCK_FAILURE);
        NE(PyThread_get_thread_ident_ex(), 0);
        NE(PyThread_get_thread_native_id(), 0);
        PyThread_tss_get(&key);
        calls++;
        PyThread_release_lock(lock);
        is_here = false;
    }
}

void *malloc(size_t size)
{
    enter();
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    enter();
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    enter();
    return __libc_realloc(memory, size);
}

void free(void *memory)
{
    enter();
    __libc_free(memory);
}
#endif

static void use_storage(void *value)
{
    EQ(PyThread_tss_set(&key, value), 0);
    EQ_PTR(PyThread_tss_get(&key), value);
}

TEST(a_malloc_of_the_program_may_use_locks_idents_and_reads_of_storage)
{
    test_skip_under_asan("it has its own malloc");
    lock = PyThread_allocate_lock();
    EQ(PyThread_tss_create(&key), 0);
    atomic_store(&calls_library, true);
    run_all_kinds(50);
    for (int i = 0; i < 50; i++) {
        join(start(use_storage, &key));
    }
    atomic_store(&calls_library, false);
    GT(calls, 1000);
}
