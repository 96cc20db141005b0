# pymutex_test.sh - mutexes in programs that other tools and headers have made.
. "$(dirname "$0")/test.sh"

# The sanitizer does not see into the library: where it is not told what that does, it takes the
# two sides of a lock that was waited for as a race.
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


# Finds a Python of 3.13 or newer, which has the header: sets python_include and python_link.
find_python() {
    for python in "${PYTHREAD_PYTHON:-python3}" python3.13 python3.14 \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[3-9].*/bin/python3; do
        "$python" -c '
import os, sys, sysconfig
get = sysconfig.get_config_var
include, libdir = sysconfig.get_paths()["include"], get("LIBDIR")
if os.path.exists(include + "/cpython/lock.h") or os.path.exists(include + "/cpython/pylock.h"):
    print("python_include=" + include)
    print("python_link=" + (libdir + "/" + get("LDLIBRARY") if get("Py_ENABLE_SHARED") else ""))
' >found 2>/dev/null || continue
        if [ -s found ]; then
            . ./found
            echo "$python: $python_include"
            return
        fi
    done
    skip "no Python of 3.13 or newer with its headers, on PATH, under pyenv or in PYTHREAD_PYTHON"
}

# compiles ARGUMENT...: both as C and as C++, what stands in the file source.
compiles() {
    "$CC" -x c -std=c11 -Wall -Wextra -Werror -I"$source_dir/include" -isystem "$python_include" \
        "$@" -fsyntax-only source
    "$CXX" -x c++ -std=c++17 -Wall -Wextra -Werror -I"$source_dir/include" \
        -isystem "$python_include" "$@" -fsyntax-only source
}

test_header_steps_aside_after_python_h() {
    find_python
    cat >source <<'END'
#include <Python.h>
#include <pylock.h>
#ifdef PyMutex_STATIC_INIT
#error "it does not step aside"
#endif
static PyMutex mutex;
void use(void);
void use(void) { PyMutex_Lock(&mutex); PyMutex_Unlock(&mutex); }
END
    compiles
    compiles -DPy_GIL_DISABLED
}

test_header_goes_before_python_h() {
    find_python
    cat >source <<'END'
#include <pylock.h>
#include <Python.h>
static PyMutex mutex = PyMutex_STATIC_INIT;
PyObject *use(PyObject *object);
PyObject *use(PyObject *object)
{
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&mutex);
    Py_INCREF(object);
    Py_END_CRITICAL_SECTION();
    return object;
}
END
    compiles
    compiles -DPy_GIL_DISABLED
}

# The mutex is one to both: what the header of CPython has compiled in is the library's byte.
test_objects_of_cpythons_header_and_of_this_one_share_a_mutex() {
    find_python
    cat >theirs.c <<'END'
#include <Python.h>
extern PyMutex mutex;
extern long count;
void *count_theirs(void *unused);
void *count_theirs(void *unused)
{
    for (int i = 0; i < 100000; i++) {
        PyMutex_Lock(&mutex);
        count++;
        PyMutex_Unlock(&mutex);
    }
    return unused;
}
END
    cat >ours.c <<'END'
#include <pylock.h>
#include <stdio.h>
PyMutex mutex;
long count;
extern void *count_theirs(void *);
static void *count_ours(void *unused)
{
    for (int i = 0; i < 100000; i++) {
        PyMutex_Lock(&mutex);
        count++;
        PyMutex_Unlock(&mutex);
    }
    return unused;
}
int main(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        if (pthread_create(&threads[i], NULL, i % 2 ? count_theirs : count_ours, NULL) != 0) {
            return 1;
        }
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("%ld, byte %d\n", count, mutex._bits);
    return count != 400000 || mutex._bits != 0;
}
END
    "$CC" -c -I"$python_include" theirs.c
    "$CC" -I"$source_dir/include" ours.c theirs.o "$PYTHREAD_LIBRARY" -Wl,-rpath,"$binary_dir" \
        -lpthread -o program
    ./program
}

# With a Python in the process, a wait for a mutex must not keep the GIL: the holder needs it.
test_a_wait_gives_up_the_gil() {
    find_python
    [ -n "$python_link" ] || skip "$python has no shared libpython"
    cat >program.c <<'END'
#include <Python.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static PyMutex mutex;
static int turns;
static void *hold(void *ready)
{
    PyMutex_Lock(&mutex);
    if (write(*(int *)ready, "!", 1) != 1) {
        return NULL;
    }
    PyGILState_STATE state = PyGILState_Ensure(); /* main has the GIL, and waits for the mutex */
    PyRun_SimpleString("turns = 1");
    turns++;
    PyGILState_Release(state);
    PyMutex_Unlock(&mutex);
    return NULL;
}
int main(void)
{
    int ends[2];
    char byte;
    pthread_t thread;
    alarm(50);
    Py_Initialize();
    if (pipe(ends) != 0 || pthread_create(&thread, NULL, hold, &ends[1]) != 0 ||
        read(ends[0], &byte, 1) != 1) {
        return 1;
    }
    PyMutex_Lock(&mutex);
    printf("%d turn, the GIL is %s\n", turns, PyGILState_Check() ? "held" : "lost");
    int is_right = turns == 1 && PyGILState_Check();
    PyMutex_Unlock(&mutex);
    pthread_join(thread, NULL);
    return Py_FinalizeEx() != 0 || !is_right;
}
END
    # Each program has the mutex of the library that it names first.
    for libraries in "$PYTHREAD_LIBRARY $python_link" "$python_link $PYTHREAD_LIBRARY"; do
        # shellcheck disable=SC2086
        "$CC" -I"$python_include" program.c $libraries -Wl,-rpath,"$binary_dir" \
            -Wl,-rpath,"${python_link%/*}" -lpthread -o program
        PYTHONHOME=${python_link%/lib/*} ./program
    done
}

# What programs do that were written for CPython's mutexes, each in its own words: psutil, Pillow,
# Cython, NumPy.
users() {
    cat >users.c <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pylock.h>

/* psutil: one at file scope around a library that has one state. */
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

/* Pillow: a field of a struct whose memory is zeroed, and macros that take the struct. */
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

/* Cython: a lock of the newer kind where the version has it, and what tells that it is locked. */
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

/* NumPy: a cache of small blocks, and a section with two of its mutexes. */
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

test_users_of_cpythons_mutexes_compile_unchanged_and_run() {
    users
    for language in "c $CC" "c++ $CXX"; do
        ${language#* } -x "${language%% *}" -DPy_GIL_DISABLED -Wall -Wextra -Werror \
            -I"$source_dir/include" users.c -x none "$PYTHREAD_LIBRARY" -Wl,-rpath,"$binary_dir" \
            -o program
        ./program
    done
}

test_users_of_cpythons_mutexes_run_in_a_go_program() {
    users
    for language in "c $CC" "c++ $CXX"; do
        ${language#* } -x "${language%% *}" -DPy_GIL_DISABLED -shared -fPIC -I"$source_dir/include" \
            users.c -o plugin.so
        "$binary_dir/ctest/host" "$PWD/plugin.so" all
    done
}

main "$@"
