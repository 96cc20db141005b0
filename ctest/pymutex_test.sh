# pymutex_test.sh - mutexes work in a program that is built with ThreadSanitizer, and in code that was
# written for CPython.
. "$(dirname "$0")/test.sh"

# ThreadSanitizer does not see what the library does. It would report a race between two holders of a mutex
# if the library did not tell it their order. The program calls both the inline functions and the library's.
test_thread_sanitizer_reports_no_race() {
    cat >program.c <<'END'
#include <pylock.h>
#include <stdio.h>

static PyMutex mutex;
static long count;

static void add(void *way)
{
    for (int i = 0; i < 20000; i++) {
        if (way != NULL) {
            (PyMutex_Lock)(&mutex);
            count++;
            (PyMutex_Unlock)(&mutex);
        } else {
            PyMutex_Lock(&mutex);
            count++;
            PyMutex_Unlock(&mutex);
        }
    }
}

static void *run(void *way)
{
    add(way);
    return NULL;
}

int main(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        if (pthread_create(&threads[i], NULL, run, i % 2 == 0 ? NULL : &mutex) != 0) {
            return 1;
        }
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("%ld\n", count);
    return count != 80000;
}
END
    "$CC" -fsanitize=thread -g -I"$source_dir/include" program.c "$PYTHREAD_LIBRARY" \
        -Wl,-rpath,"$binary_dir" -lpthread -o program 2>errors ||
        skip "the compiler has no ThreadSanitizer: $(cat errors)"
    ./program
}

# write_users: writes a program that uses mutexes as psutil, Pillow, Cython and NumPy do.
write_users() {
    cat >users.c <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pylock.h>

/* As psutil: a mutex at file scope guards a library with global state. */
#ifdef Py_GIL_DISABLED
static PyMutex utmp_mutex;
#define UTMP_LOCK() PyMutex_Lock(&utmp_mutex)
#define UTMP_UNLOCK() PyMutex_Unlock(&utmp_mutex)
#else
#error "compile it with -DPy_GIL_DISABLED"
#endif
static long utmp_position, utmp_rounds;

static void read_utmp(void)
{
    UTMP_LOCK();
    utmp_position = 0;
    while (utmp_position < 3) {
        utmp_position++;
        if (utmp_position > 3) {
            goto error;
        }
    }
    utmp_rounds++;
error:
    UTMP_UNLOCK();
}

/* As Pillow: a mutex is a field of a struct in zeroed memory, and macros take the struct. */
typedef struct arena {
    int blocks, most;
#ifdef Py_GIL_DISABLED
    PyMutex mutex;
#endif
} *Arena;
#define ARENA_LOCK(a) PyMutex_Lock(&(a)->mutex)
#define ARENA_UNLOCK(a) PyMutex_Unlock(&(a)->mutex)
static Arena arenas[2];

static void use_arena(int i)
{
    Arena arena = arenas[i % 2];
    ARENA_LOCK(arena);
    arena->blocks++;
    arena->most = arena->blocks > arena->most ? arena->blocks : arena->most;
    arena->blocks--;
    ARENA_UNLOCK(arena);
}

/* As Cython: a macro for the version decides whether there is a PyMutex, and code reads the byte. */
#if defined(PY_VERSION_HEX) && PY_VERSION_HEX < 0x030d00b3
typedef PyThread_type_lock locker;
#else
typedef PyMutex locker;
#define locker_init(l) memset((l), 0, sizeof(*(l)))
#define locker_lock(l) PyMutex_Lock(l)
#define locker_unlock(l) PyMutex_Unlock(l)
#define locker_locked(l) (((l)->_bits & _Py_LOCKED) != 0)
#endif
static locker cy_lock;
static long cy_count;

static int use_cython(void)
{
    int was_locked;
    locker_lock(&cy_lock);
    was_locked = locker_locked(&cy_lock) && PyMutex_IsLocked(&cy_lock);
    cy_count++;
    locker_unlock(&cy_lock);
    {
        PyCriticalSection section;
        PyCriticalSection_BeginMutex(&section, &cy_lock);
        cy_count++;
        PyCriticalSection_End(&section);
    }
    return was_locked;
}

/* As NumPy: a cache of small blocks. A critical section has the mutexes of two buckets. */
static struct { PyMutex mutex; void *blocks[4]; int count; } cache[2];

static void *cache_take(int bucket)
{
    void *block = NULL;
    PyMutex_Lock(&cache[bucket].mutex);
    if (cache[bucket].count > 0) {
        block = cache[bucket].blocks[--cache[bucket].count];
    }
    PyMutex_Unlock(&cache[bucket].mutex);
    return block != NULL ? block : malloc(16);
}

static void cache_give(int bucket, void *block)
{
    Py_BEGIN_CRITICAL_SECTION2_MUTEX(&cache[bucket].mutex, &cache[1 - bucket].mutex);
    if (cache[bucket].count < 4) {
        cache[bucket].blocks[cache[bucket].count++] = block;
        block = NULL;
    }
    Py_END_CRITICAL_SECTION2();
    free(block);
}

enum { THREADS = 4, ROUNDS = 20000 };
static int wrong[THREADS];

static void work(void *arg)
{
    int me = (int)(size_t)arg;
    for (int i = 0; i < ROUNDS; i++) {
        char *block = (char *)cache_take(i % 2);
        memset(block, me, 16);
        read_utmp();
        use_arena(i);
        wrong[me] += !use_cython();
        wrong[me] += block[15] != me;
        cache_give(i % 2, block);
    }
}

#ifdef __cplusplus
extern "C"
#endif
int main(int argc, char **argv)
{
    PyThread_handle_t handles[THREADS];
    PyThread_ident_t ident;
    (void)argc;
    (void)argv;
    locker_init(&cy_lock);
    for (int i = 0; i < 2; i++) {
        arenas[i] = (Arena)calloc(1, sizeof(struct arena));
    }
    for (int i = 0; i < THREADS; i++) {
        if (PyThread_start_joinable_thread(work, (void *)(size_t)i, &ident, &handles[i]) != 0) {
            return 1;
        }
    }
    for (int i = 0; i < THREADS; i++) {
        PyThread_join_thread(handles[i]);
        if (wrong[i] != 0) {
            return 2;
        }
    }
    printf("%ld %ld %d\n", utmp_rounds, cy_count, arenas[0]->most + arenas[1]->most);
    fflush(stdout);
    return utmp_rounds != THREADS * ROUNDS || cy_count != 2 * THREADS * ROUNDS ||
           arenas[0]->most + arenas[1]->most != 2;
}
END
}

test_code_for_cpythons_mutexes_runs_unchanged_as_c_and_cxx() {
    write_users
    for language in "c $CC" "c++ $CXX"; do
        ${language#* } -x "${language%% *}" -DPy_GIL_DISABLED -Wall -Wextra -Werror \
            -I"$source_dir/include" users.c -x none "$PYTHREAD_LIBRARY" -Wl,-rpath,"$binary_dir" \
            -o program
        ./program
    done
}

test_code_for_cpythons_mutexes_runs_in_a_go_program() {
    write_users
    for language in "c $CC" "c++ $CXX"; do
        ${language#* } -x "${language%% *}" -DPy_GIL_DISABLED -shared -fPIC -I"$source_dir/include" \
            users.c -o plugin.so
        "$binary_dir/ctest/host" "$PWD/plugin.so" all
    done
}

main "$@"
