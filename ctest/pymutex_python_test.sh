# pymutex_python_test.sh - mutexes and critical sections work with CPython's headers, with objects that are
# compiled with these headers, and with a Python in the process.
. "$(dirname "$0")/test.sh"

# find_python: finds a Python 3.13 or newer that has headers, or skips. Sets python_include to the folder of
# the headers, and python_link to the shared libpython, or to nothing if there is none.
find_python() {
    for python in "${PYTHREAD_PYTHON:-python3}" python3.13 python3.14 python3.15 \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[3-9].*/bin/python3; do
        "$python" -c '
import os, sysconfig
get, include = sysconfig.get_config_var, sysconfig.get_paths()["include"]
library = get("LIBDIR") + "/" + get("LDLIBRARY") if get("Py_ENABLE_SHARED") else ""
if any(os.path.exists(include + "/cpython/" + name) for name in ("lock.h", "pylock.h")):
    print("python_include=" + include)
    print("python_link=" + library)
' >found 2>/dev/null || continue
        if [ -s found ]; then
            . ./found
            echo "$python: $python_include"
            return
        fi
    done
    skip "no Python of 3.13 or newer with its headers, on PATH, under pyenv or in PYTHREAD_PYTHON"
}

# compiles: compiles the file "source" as C and as C++, with and without Py_GIL_DISABLED.
compiles() {
    for gil in -UPy_GIL_DISABLED -DPy_GIL_DISABLED; do
        "$CC" -x c -std=c11 "$gil" -Wall -Wextra -Werror -I"$source_dir/include" \
            -isystem "$python_include" -fsyntax-only source
        "$CXX" -x c++ -std=c++17 "$gil" -Wall -Wextra -Werror -I"$source_dir/include" \
            -isystem "$python_include" -fsyntax-only source
    done
}

test_header_steps_aside_after_python_h() {
    find_python
    cat >source <<'END'
#include <Python.h>
#include <pylock.h>
#ifdef PYTHREAD_VERSION_MAJOR
#error "it does not step aside"
#endif
static PyMutex mutex;
void use(PyObject *object);
void use(PyObject *object)
{
    PyMutex_Lock(&mutex);
    Py_BEGIN_CRITICAL_SECTION(object);
    Py_INCREF(object);
    Py_END_CRITICAL_SECTION();
    PyMutex_Unlock(&mutex);
}
END
    compiles
}

test_header_goes_before_python_h() {
    find_python
    cat >source <<'END'
#include <pylock.h>
#include <Python.h>
static PyMutex mutex = PyMutex_STATIC_INIT, other;
PyObject *use(PyObject *object);
PyObject *use(PyObject *object)
{
    PyMutex_Lock(&other);
    PyMutex_Unlock(&other);
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&mutex);
    Py_BEGIN_CRITICAL_SECTION2_MUTEX(&mutex, &other);
    Py_BEGIN_CRITICAL_SECTION(object);
    Py_BEGIN_CRITICAL_SECTION2(object, Py_None);
    Py_INCREF(object);
    Py_END_CRITICAL_SECTION2();
    Py_END_CRITICAL_SECTION();
    Py_END_CRITICAL_SECTION2();
    Py_END_CRITICAL_SECTION();
    return object;
}
END
    compiles
}

test_objects_of_both_headers_share_a_mutex() {
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
        Py_BEGIN_CRITICAL_SECTION_MUTEX(&mutex);
        count++;
        Py_END_CRITICAL_SECTION();
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

# write_gil_program: writes a program whose main thread waits for a mutex while the holder of the mutex
# needs the GIL. With SECTION the main thread is in a critical section, and the holder also needs the mutex
# of the section.
write_gil_program() {
    cat >program.c <<'END'
#ifdef SECTION
#include <pylock.h>
#endif
#include <Python.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static PyMutex mutex, guarding;
static int turns;
static void *hold(void *ready)
{
    PyMutex_Lock(&mutex);
    if (write(*(int *)ready, "!", 1) != 1) {
        return NULL;
    }
    PyGILState_STATE state = PyGILState_Ensure();
    PyRun_SimpleString("turns = 1");
    PyMutex_Lock(&guarding);
    turns++;
    PyMutex_Unlock(&guarding);
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
#ifdef SECTION
    PyCriticalSection section;
    PyCriticalSection_BeginMutex(&section, &guarding);
#endif
    if (pipe(ends) != 0 || pthread_create(&thread, NULL, hold, &ends[1]) != 0 ||
        read(ends[0], &byte, 1) != 1) {
        return 1;
    }
    PyMutex_Lock(&mutex);
    printf("%d turn, the GIL is %s\n", turns, PyGILState_Check() ? "held" : "lost");
    int is_right = turns == 1 && PyGILState_Check();
    PyMutex_Unlock(&mutex);
#ifdef SECTION
    PyCriticalSection_End(&section);
    is_right = is_right && guarding._bits == 0;
#endif
    pthread_join(thread, NULL);
    return Py_FinalizeEx() != 0 || !is_right;
}
END
}

# run_with_python LIBRARY... [OPTION]: compiles program.c, links it with the libraries in this order, and
# runs it.
run_with_python() {
    "$CC" -I"$source_dir/include" -I"$python_include" program.c "$@" -Wl,-rpath,"$binary_dir" \
        -Wl,-rpath,"${python_link%/*}" -lpthread -o program
    PYTHONHOME=${python_link%/lib/*} ./program
}

test_a_wait_gives_up_the_gil() {
    find_python
    [ -n "$python_link" ] || skip "$python has no shared libpython"
    write_gil_program
    run_with_python "$PYTHREAD_LIBRARY" "$python_link"
    run_with_python "$python_link" "$PYTHREAD_LIBRARY"
    run_with_python "$PYTHREAD_LIBRARY" "$python_link" -DSECTION
}

# write_functions_of_python [OPTION...]: makes a library with the functions of Python 3.13 or, with the option
# -DBEGIN_MUTEX, of a newer Python, which has a GIL with -DGIL. The functions count locks, and beginnings and
# ends of sections. `state` is the thread state of all threads.
write_functions_of_python() {
    cat >python.c <<'END'
#include <sched.h>
#include <stddef.h>
int locks, begins, ends, saves;
void *state;
void *PyThreadState_GetUnchecked(void)
{
    return state;
}
void *PyEval_SaveThread(void)
{
    void *saved = state;
    state = NULL;
    saves++;
    return saved;
}
void PyEval_RestoreThread(void *saved)
{
    state = saved;
}
void PyMutex_Lock(unsigned char *mutex)
{
    unsigned char unlocked = 0;
    locks++;
    while (!__atomic_compare_exchange_n(mutex, &unlocked, 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        unlocked = 0;
        sched_yield();
    }
}
void PyMutex_Unlock(unsigned char *mutex)
{
    __atomic_store_n(mutex, 0, __ATOMIC_RELEASE);
}
/* The second field of a section is not NULL until the section ends. This library relies on that. */
void PyCriticalSection_Begin(void **c, void *object)
{
#ifndef GIL
    c[0] = NULL;
    c[1] = object;
#endif
    begins++;
}
void PyCriticalSection2_Begin(void **c, void *object, void *other)
{
#ifndef GIL
    c[0] = NULL;
    c[1] = object;
    c[2] = other;
#endif
    begins++;
}
void PyCriticalSection_End(void **c)
{
    c[1] = NULL;
    ends++;
}
void PyCriticalSection2_End(void **c)
{
    c[1] = c[2] = NULL;
    ends++;
}
#ifdef BEGIN_MUTEX
void PyCriticalSection_BeginMutex(void **c, void *mutex)
{
    PyCriticalSection_Begin(c, mutex);
}
void PyCriticalSection2_BeginMutex(void **c, void *mutex, void *other)
{
    PyCriticalSection2_Begin(c, mutex, other);
}
#endif
END
    "$CC" -shared -fPIC "$@" python.c -o libpython.so
}

# run_with_functions_of_python [LIBRARY...]: compiles program.c, links it with the libraries in this order, and
# runs it. Without arguments these are the library and then that of write_functions_of_python.
run_with_functions_of_python() {
    [ $# -gt 0 ] || set -- "$PYTHREAD_LIBRARY" ./libpython.so
    "$CC" -Wall -Wextra -Werror -I"$source_dir/include" program.c "$@" -Wl,-rpath,"$binary_dir" \
        -lpthread -o program
    ./program
}

test_a_section_ends_where_it_has_begun() {
    write_functions_of_python
    cat >program.c <<'END'
#include <pylock.h>
#include <stdio.h>
extern int locks, begins, ends;
static PyMutex a, b, awaited;
static struct _object {
    int any;
} object;

#define CHECK(what)                                                                                \
    if (!(what)) {                                                                                 \
        fprintf(stderr, "%d: not so: %s (%d ends)\n", __LINE__, #what, ends);                      \
        return 1;                                                                                  \
    }

/* Ends the wait of the main thread. This needs both mutexes, so the wait must suspend the sections. */
static void *release(void *unused)
{
    (PyMutex_Lock)(&a);
    (PyMutex_Lock)(&b);
    PyMutex_Unlock(&b);
    PyMutex_Unlock(&a);
    PyMutex_Unlock(&awaited);
    return unused;
}

int main(void)
{
    PyCriticalSection ours, same, theirs;
    PyCriticalSection2 our_two, their_two;
    pthread_t thread;

    PyCriticalSection_Begin(&theirs, &object);
    PyCriticalSection_BeginMutex(&ours, &a);
    PyCriticalSection2_Begin(&their_two, &object, &object);
    PyCriticalSection2_BeginMutex(&our_two, &a, &b);
    PyCriticalSection_BeginMutex(&same, &b);
    CHECK(PyMutex_IsLocked(&a) && PyMutex_IsLocked(&b));
    PyCriticalSection_End(&same);
    CHECK(PyMutex_IsLocked(&b) && ends == 0);

    PyMutex_Lock(&awaited);
    CHECK(pthread_create(&thread, NULL, release, NULL) == 0);
    PyMutex_Lock(&awaited);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(PyMutex_IsLocked(&a) && PyMutex_IsLocked(&b) && locks > 0);

    PyCriticalSection2_End(&our_two);
    CHECK(PyMutex_IsLocked(&a) && !PyMutex_IsLocked(&b) && ends == 0);
    PyCriticalSection2_End(&their_two);
    CHECK(PyMutex_IsLocked(&a) && ends == 1);
    PyCriticalSection_End(&ours);
    CHECK(!PyMutex_IsLocked(&a) && ends == 1);
    PyCriticalSection_End(&theirs);
    CHECK(begins == 2 && ends == 2);
    return 0;
}
END
    run_with_functions_of_python
}

# expect_sections [OPTION...] <EXPECTED: sections with two mutexes, beside a library that
# write_functions_of_python makes with these options, report what EXPECTED says: how many of them Python has
# begun and ended, and how many mutexes were locked in them and afterwards.
expect_sections() {
    cat >expected
    write_functions_of_python -DBEGIN_MUTEX "$@"
    cat >program.c <<'END'
#include <pylock.h>
#include <stdio.h>
extern int begins, ends;
extern void *state;
static PyMutex a, b;
static void be_in_sections(const char *who)
{
    int locked;
    begins = ends = 0;
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&a);
    Py_BEGIN_CRITICAL_SECTION2_MUTEX(&b, &a);
    locked = a._bits + b._bits;
    Py_END_CRITICAL_SECTION2();
    Py_END_CRITICAL_SECTION();
    printf("%s: begins %d, ends %d, locked %d, then %d\n", who, begins, ends, locked,
           a._bits + b._bits);
}
int main(void)
{
    be_in_sections("without a state");
    state = &state;
    be_in_sections("with a state");
    return 0;
}
END
    run_with_functions_of_python >output
    diff -u expected output
}

test_sections_are_pythons_in_threads_with_a_thread_state() {
    expect_sections <<'END'
without a state: begins 0, ends 0, locked 2, then 0
with a state: begins 2, ends 2, locked 0, then 0
END
}

test_sections_lock_beside_a_python_with_a_gil() {
    expect_sections -DGIL <<'END'
without a state: begins 0, ends 0, locked 2, then 0
with a state: begins 2, ends 0, locked 2, then 0
END
}

test_a_wait_with_a_limit_gives_up_the_gil() {
    write_functions_of_python
    cat >program.c <<'END'
#include <pylock.h>
#include <stdio.h>
extern int saves;
extern void *state;
static PyMutex mutex = {_Py_LOCKED};
int main(void)
{
    PyLockStatus without = pythread_mutex_lock_timed(&mutex, 1000, 0);
    state = &state;
    PyLockStatus attempt = pythread_mutex_lock_timed(&mutex, 0, 0);
    int before = saves;
    PyLockStatus with = pythread_mutex_lock_timed(&mutex, 1000, 0);
    printf("%d, %d, %d; %d and %d times, then %p\n", without, attempt, with, before, saves, state);
    return without != PY_LOCK_FAILURE || attempt != PY_LOCK_FAILURE || with != PY_LOCK_FAILURE ||
           before != 0 || saves != 1 || state != &state;
}
END
    run_with_functions_of_python
}

# Python leaves 2 in the byte of a free mutex until the waiter that it has woken runs.
test_a_free_mutex_with_waiters_of_pythons_is_locked() {
    write_functions_of_python
    cat >program.c <<'END'
#include <pylock.h>
#include <stdio.h>
extern int locks;
static PyMutex tried = {2}, timed = {2};
int main(void)
{
    PyLockStatus attempt = pythread_mutex_lock_timed(&tried, 0, 0);
    PyLockStatus wait = pythread_mutex_lock_timed(&timed, 1000, 0);
    printf("%d, %d; bytes %d, %d; %d locks\n", attempt, wait, tried._bits, timed._bits, locks);
    return attempt != PY_LOCK_ACQUIRED || wait != PY_LOCK_ACQUIRED || tried._bits != 3 ||
           timed._bits != 3;
}
END
    run_with_functions_of_python
}

test_mutexes_are_pythons_where_python_comes_first() {
    write_functions_of_python -DBEGIN_MUTEX
    cat >program.c <<'END'
#include <pylock.h>
#include <stdio.h>
#include <unistd.h>
extern int locks;
static PyMutex mutex = {_Py_LOCKED};
static void *release(void *unused)
{
    while (__atomic_load_n(&locks, __ATOMIC_RELAXED) == 0) {
        usleep(1000);
    }
    PyMutex_Unlock(&mutex);
    return unused;
}
int main(void)
{
    pthread_t thread;
    alarm(50);
    if (pthread_create(&thread, NULL, release, NULL) != 0) {
        return 1;
    }
    PyLockStatus status = pythread_mutex_lock_timed(&mutex, -1, 0);
    pthread_join(thread, NULL);
    printf("%d, %d lock\n", status, locks);
    return status != PY_LOCK_ACQUIRED || locks != 1;
}
END
    run_with_functions_of_python ./libpython.so "$PYTHREAD_LIBRARY"
}

main "$@"
