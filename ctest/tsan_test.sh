# tsan_test.sh - programs that are built with ThreadSanitizer, which does not see into the library.
. "$(dirname "$0")/test.sh"

# check CASE: the case of program.c runs without a report, many times in one process.
check() {
    cat >program.c <<'END'
#include <pythread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 8, ROUNDS = 20, COUNTS = 100 };

static PyThread_type_lock lock;
static Py_tss_t key = Py_tss_NEEDS_INIT;
static long count, results[THREADS];

static PyThread_handle_t start(void (*func)(void *), void *arg)
{
    PyThread_ident_t ident;
    PyThread_handle_t handle;
    if (PyThread_start_joinable_thread(func, arg, &ident, &handle) != 0) {
        exit(2);
    }
    return handle;
}

static void add(void *unused)
{
    (void)unused;
    for (int i = 0; i < COUNTS; i++) {
        PyThread_acquire_lock(lock, WAIT_LOCK);
        count++;
        PyThread_release_lock(lock);
    }
}

static void increment(void *result)
{
    ++*(long *)result;
}

/* The value is memory that the next thread may get. */
static void store(void *result)
{
    long *value = malloc(sizeof *value);
    *value = *(long *)result;
    PyThread_tss_set(&key, value);
    *(long *)result = *(long *)PyThread_tss_get(&key) + 1;
    free(value);
}

/* Main has acquired the lock. */
static void receive(void *result)
{
    PyThread_acquire_lock(lock, WAIT_LOCK);
    *(long *)result += count;
    PyThread_release_lock(lock);
}

static void run(void (*func)(void *))
{
    PyThread_handle_t handles[THREADS];
    for (int i = 0; i < THREADS; i++) {
        results[i]++;
        handles[i] = start(func, &results[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        PyThread_join_thread(handles[i]);
        results[i]++;
    }
}

int main(int argc, char **argv)
{
    lock = PyThread_allocate_lock();
    PyThread_tss_create(&key);
    for (int mode = PYTHREAD_REUSE_NEVER; argc == 2 && mode <= PYTHREAD_REUSE_ALWAYS; mode++) {
        pythread_set_reuse(mode);
        for (int i = 0; i < ROUNDS; i++) {
            if (strcmp(argv[1], "locks") == 0) {
                run(add);
                count++;
            } else if (strcmp(argv[1], "joins") == 0) {
                run(increment);
            } else if (strcmp(argv[1], "storage") == 0) {
                run(store);
            } else {
                PyThread_acquire_lock(lock, WAIT_LOCK);
                PyThread_handle_t handle = start(receive, results);
                count = i;
                PyThread_release_lock(lock);
                PyThread_join_thread(handle);
                count = results[0];
            }
        }
    }
    return 0;
}
END
    "$CC" -fsanitize=thread -g -I"$source_dir/include" program.c "$PYTHREAD_LIBRARY" \
        -Wl,-rpath,"$binary_dir" -o program 2>errors ||
        skip "the compiler has no ThreadSanitizer: $(cat errors)"
    # It does not know all layouts of memory that the kernel makes at random.
    setarch -R ./program "$1"
}

test_locks_order_what_threads_do() {
    check locks
}

test_a_lock_hands_over_what_its_releaser_did() {
    check handover
}

test_a_start_comes_before_the_thread_and_the_thread_before_its_join() {
    check joins
}

test_values_are_their_threads_own() {
    check storage
}

main "$@"
