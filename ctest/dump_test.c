/*
 * dump_test.c - pythread_dump: what threads do can be read from it, at any moment and in signal
 * handlers.
 */
#define _GNU_SOURCE
#include "dump_text.h"
#include "process.h"
#include "pylock.h"
#include "threads.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/time.h>

static void check_dump_lacks(const char *text)
{
    if (strstr(dump(), text) != NULL) {
        fprintf(stderr, "\"%s\" in the dump:\n%s", text, dump());
        test_fail();
    }
}

/* A Go release that the library does not know would be named in the second line. */
TEST(the_library_finds_in_go_all_that_it_changes)
{
    check_dump_lacks("\npythread: ");
}

/* ---- threads that wait ---- */

/* Acquires the first lock, meets the others that do so, and acquires the second. */
struct two_locks {
    PyThread_type_lock first, second;
    atomic_int *arrived;
    int parties;
};

static void acquire_both(void *arg)
{
    struct two_locks *locks = arg;
    EQ(PyThread_acquire_lock(locks->first, WAIT_LOCK), 1);
    atomic_fetch_add(locks->arrived, 1);
    wait_for_count(locks->arrived, locks->parties);
    EQ(PyThread_acquire_lock(locks->second, WAIT_LOCK), 1);
    PyThread_release_lock(locks->second);
    PyThread_release_lock(locks->first);
}

TEST(a_waiter_is_shown_with_its_lock_and_the_holder)
{
    atomic_int arrived = 0;
    struct two_locks locks = {PyThread_allocate_lock(), PyThread_allocate_lock(), &arrived, 1};
    EQ(PyThread_acquire_lock(locks.second, WAIT_LOCK), 1);
    PyThread_handle_t thread = start(acquire_both, &locks);
    check_dump_has("s for lock %p, held by thread 0x%lx\n", locks.second,
                   PyThread_get_thread_ident());
    PyThread_release_lock(locks.second);
    join(thread);
    check_dump_lacks("for lock");
    PyThread_free_lock(locks.first);
    PyThread_free_lock(locks.second);
}

static void lock_and_unlock(void *mutex)
{
    PyMutex_Lock(mutex);
    PyMutex_Unlock(mutex);
}

TEST(a_waiter_is_shown_with_its_mutex)
{
    PyMutex mutex = PyMutex_STATIC_INIT;
    PyMutex_Lock(&mutex);
    PyThread_handle_t thread = start(lock_and_unlock, &mutex);
    check_dump_has("s for mutex %p\n", (void *)&mutex);
    PyMutex_Unlock(&mutex);
    join(thread);
    check_dump_lacks("for mutex");
}

struct suspended {
    PyThread_type_lock lock;
    PyMutex mutex;
};

static void acquire_in_section(void *arg)
{
    struct suspended *suspended = arg;
    Py_BEGIN_CRITICAL_SECTION_MUTEX(&suspended->mutex);
    EQ(PyThread_acquire_lock(suspended->lock, WAIT_LOCK), 1);
    Py_END_CRITICAL_SECTION();
}

TEST(a_thread_whose_section_is_suspended_is_shown_with_its_wait)
{
    struct suspended suspended = {.lock = PyThread_allocate_lock()};
    EQ(PyThread_acquire_lock(suspended.lock, WAIT_LOCK), 1);
    PyThread_handle_t thread = start(acquire_in_section, &suspended);
    check_dump_has("for lock %p", suspended.lock);
    PyMutex_Lock(&suspended.mutex);
    PyThread_release_lock(suspended.lock);
    check_dump_has("s for mutex %p\n", (void *)&suspended.mutex);
    PyMutex_Unlock(&suspended.mutex);
    join(thread);
    PyThread_free_lock(suspended.lock);
}

struct passer {
    PyThread_type_lock lock;
    atomic_int arrived;
    sem_t door;
};

static void acquire_and_go_on(void *arg)
{
    struct passer *passer = arg;
    EQ(PyThread_acquire_lock(passer->lock, WAIT_LOCK), 1);
    PyThread_release_lock(passer->lock);
    atomic_fetch_add(&passer->arrived, 1);
    wait_at_door(&passer->door);
}

TEST(a_wait_that_is_over_is_not_shown)
{
    struct passer passer = {.lock = PyThread_allocate_lock()};
    EQ(sem_init(&passer.door, 0, 0), 0);
    EQ(PyThread_acquire_lock(passer.lock, WAIT_LOCK), 1);
    PyThread_handle_t thread = start(acquire_and_go_on, &passer);
    check_dump_has("for lock %p", passer.lock);
    PyThread_release_lock(passer.lock);
    wait_for_count(&passer.arrived, 1);
    check_dump_lacks("for lock");
    sem_post(&passer.door);
    join(thread);
    PyThread_free_lock(passer.lock);
}

TEST(a_ring_of_locks_is_named)
{
    enum { THREADS = 3 };
    atomic_int arrived = 0;
    struct two_locks locks[THREADS];
    PyThread_type_lock lock[THREADS];
    PyThread_handle_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        lock[i] = PyThread_allocate_lock();
    }
    for (int i = 0; i < THREADS; i++) {
        locks[i] = (struct two_locks){lock[i], lock[(i + 1) % THREADS], &arrived, THREADS};
        threads[i] = start(acquire_both, &locks[i]);
    }
    check_dump_has("deadlock: thread ");
    check_dump_has("thread 1 waits for a lock of thread 2");
    check_dump_has("thread 2 waits for a lock of thread 3");
    check_dump_has("thread 3 waits for a lock of thread 1");
    const char *ring = strstr(dump(), "deadlock: ");
    CHECK(strstr(ring + 1, "deadlock: ") == NULL);
    /* Any thread may release a lock: then there is no ring. */
    PyThread_release_lock(lock[0]);
    for (int i = 0; i < THREADS; i++) {
        join(threads[i]);
    }
    check_dump_lacks("deadlock");
    for (int i = 0; i < THREADS; i++) {
        PyThread_free_lock(lock[i]);
    }
}

TEST(who_waits_for_whose_end_is_shown)
{
    sem_t door;
    EQ(sem_init(&door, 0, 0), 0);
    PyThread_handle_t first = start(wait_at_door, &door), second = start(join_it, &first);
    check_dump_has("s for the end of thread 1\n");
    check_dump_has("thread 1 ");
    sem_post(&door);
    join(second);
}

static void hold_and_join(void *arg)
{
    struct two_locks *locks = arg;
    EQ(PyThread_acquire_lock(locks->first, WAIT_LOCK), 1);
    PyThread_handle_t inner =
        start(acquire_both,
              &(struct two_locks){locks->second, locks->first, locks->arrived, locks->parties});
    join(inner);
    PyThread_release_lock(locks->first);
}

TEST(a_ring_of_a_lock_and_a_join_is_named)
{
    atomic_int arrived = 0;
    struct two_locks locks = {PyThread_allocate_lock(), PyThread_allocate_lock(), &arrived, 1};
    PyThread_handle_t thread = start(hold_and_join, &locks);
    check_dump_has("thread 1 waits for the end of thread 2");
    check_dump_has("thread 2 waits for a lock of thread 1");
    check_dump_has("deadlock: ");
    PyThread_release_lock(locks.first);
    join(thread);
    PyThread_free_lock(locks.first);
    PyThread_free_lock(locks.second);
}

/* ---- threads that do not ---- */

static atomic_bool runs_on;

static void run_on(void *unused)
{
    (void)unused;
    while (atomic_load(&runs_on)) {
    }
}

TEST(a_thread_that_runs_and_one_that_waits_elsewhere_are_told_apart)
{
    sem_t door;
    EQ(sem_init(&door, 0, 0), 0);
    atomic_store(&runs_on, true);
    PyThread_handle_t running = start(run_on, NULL);
    check_dump_has(" old: runs\n");
    atomic_store(&runs_on, false);
    join(running);
    PyThread_handle_t waiting = start(wait_at_door, &door);
    check_dump_has(" old: waits for nothing that the library knows\n");
    sem_post(&door);
    join(waiting);
}

static void name_by_system(void *door)
{
    EQ(prctl(PR_SET_NAME, "by (the) system", 0, 0, 0), 0);
    wait_at_door(door);
}

static void name_by_library(void *door)
{
    EQ(pythread_set_name("a\n\"name\""), 0);
    wait_at_door(door);
}

TEST(names_of_all_kinds_are_shown_on_one_line)
{
    sem_t door;
    EQ(sem_init(&door, 0, 0), 0);
    PyThread_handle_t first = start(name_by_system, &door), second = start(name_by_library, &door);
    check_dump_has("thread 1 \"by (the) system\", OS thread ");
    check_dump_has("thread 2 \"a??name?\", OS thread ");
    sem_post(&door);
    sem_post(&door);
    join(first);
    join(second);
}

static void tell_native_id(void *told)
{
    atomic_store((atomic_ulong *)told, PyThread_get_thread_native_id());
    while (atomic_load((atomic_ulong *)told) != 0) {
        sleep_ms(1);
    }
}

TEST(a_dump_has_the_number_of_the_os_thread)
{
    atomic_ulong told = 0;
    PyThread_handle_t thread = start(tell_native_id, (void *)&told);
    while (atomic_load(&told) == 0) {
        sleep_ms(1);
    }
    check_dump_has(", OS thread %lu, ", atomic_load(&told));
    atomic_store(&told, 0);
    join(thread);
}

static void check_ended_threads_are_gone(int own)
{
    use_own_os_threads(own);
    join(start(nothing, NULL));
    check_dump_lacks("thread 1 ");
    join(start((void (*)(void *))PyThread_exit_thread, NULL));
    check_dump_lacks(" old: ");
}

TEST(threads_that_have_ended_are_not_shown)
{
    check_ended_threads_are_gone(0);
    check_ended_threads_are_gone(1);
}

TEST(a_thread_is_shown_after_many_have_ended)
{
    for (int i = 0; i < 10000 / SLOWER; i++) {
        join(start(nothing, NULL));
    }
    PyThread_handle_t thread = start(stay, NULL);
    check_dump_has("thread %llu", (unsigned long long)thread);
    atomic_store(&leave, true);
    join(thread);
}

TEST(a_thousand_threads_are_shown)
{
    enum { THREADS = 1000 };
    sem_t door;
    PyThread_handle_t threads[THREADS];
    EQ(sem_init(&door, 0, 0), 0);
    for (int i = 0; i < THREADS; i++) {
        threads[i] = start(wait_at_door, &door);
    }
    check_dump_counts(THREADS, " old: ");
    EQ(count_in_dump(" old: "), THREADS);
    check_dump_has("thread %d \"", THREADS);
    for (int i = 0; i < THREADS; i++) {
        sem_post(&door);
    }
    for (int i = 0; i < THREADS; i++) {
        join(threads[i]);
    }
    check_dump_lacks(" old: ");
}

/* ---- errors ---- */

TEST(a_file_that_cannot_be_written_is_told)
{
    errno = EDOM;
    EQ(pythread_dump(-1), EBADF);
    EQ(errno, EDOM);
    int full = open("/dev/full", O_WRONLY);
    GE(full, 0);
    EQ(pythread_dump(full), ENOSPC);
    /* The next dump is whole. */
    check_dump_has("pythread: the threads of process %d\n", (int)getpid());
}

static void dump_into_full_pipe(void *fd)
{
    int error;
    /* A dump of main may be under way. */
    while ((error = pythread_dump(*(int *)fd)) == EBUSY) {
        sched_yield();
    }
    EQ(error, 0);
}

TEST(a_dump_beside_another_is_refused)
{
    enum { BYTES = 4096 };
    static char bytes[BYTES];
    int ends[2];
    EQ(pipe(ends), 0);
    EQ(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
    while (write(ends[1], bytes, BYTES) > 0) {
    }
    EQ(fcntl(ends[1], F_SETFL, 0), 0);
    PyThread_handle_t thread = start(dump_into_full_pipe, &ends[1]);
    int null = open("/dev/null", O_WRONLY);
    GE(null, 0);
    for (int i = 0; i < 20000 && pythread_dump(null) == 0; i++) {
        sleep_ms(1);
    }
    EQ(pythread_dump(null), EBUSY);
    EQ(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    for (int i = 0; i < 20000 && pythread_dump(null) == EBUSY; i++) {
        while (read(ends[0], bytes, BYTES) > 0) {
        }
        sleep_ms(1);
    }
    join(thread);
    EQ(pythread_dump(null), 0);
}

/* ---- signals and forks ---- */

static volatile sig_atomic_t dumps;
static int dump_file;

static void dump_in_handler(int signal)
{
    (void)signal;
    int error = pythread_dump(dump_file);
    if (error != 0 && error != EBUSY) {
        _exit(1);
    }
    dumps++;
}

static void use_everything(void *lock)
{
    enum { ROUNDS = 100 };
    for (int i = 0; i < ROUNDS; i++) {
        join(start(nothing, NULL));
        if (PyThread_acquire_lock_timed(lock, 100, 0) == PY_LOCK_ACQUIRED) {
            PyThread_release_lock(lock);
        }
        PyThread_type_lock own = PyThread_allocate_lock();
        EQ(PyThread_acquire_lock(own, WAIT_LOCK), 1);
        EQ(PyThread_acquire_lock_timed(own, 10, 0), PY_LOCK_FAILURE);
        PyThread_free_lock(own);
    }
}

TEST(a_signal_may_dump_at_any_moment)
{
    enum { THREADS = 8 };
    static const struct itimerval often = {{0, 500}, {0, 500}}, never;
    struct sigaction action = {.sa_handler = dump_in_handler, .sa_flags = SA_ONSTACK | SA_RESTART};
    PyThread_type_lock lock = PyThread_allocate_lock();
    PyThread_handle_t threads[THREADS];
    dump_file = open("/dev/null", O_WRONLY);
    EQ(sigaction(SIGALRM, &action, NULL), 0);
    EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        threads[i] = start(use_everything, lock);
    }
    for (int i = 0; i < THREADS; i++) {
        join(threads[i]);
    }
    EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
    GE(dumps, 1);
    check_dump_lacks(" old: ");
    PyThread_free_lock(lock);
}

static void hang_dumped(long unused)
{
    (void)unused;
    int ends[2];
    char text[4096];
    size_t length = 0;
    PyThread_type_lock lock = PyThread_allocate_lock();
    EQ(PyThread_acquire_lock(lock, WAIT_LOCK), 1);
    EQ(pipe(ends), 0);
    EQ(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    EQ(kill(getpid(), SIGUSR2), 0);
    do {
        ssize_t got = read(ends[0], text + length, sizeof text - 1 - length);
        GE(got, 1);
        length += (size_t)got;
        text[length] = '\0';
    } while (strchr(text, '\n') == NULL);
    CHECK(strstr(text, "pythread: the threads of process ") != NULL);
}

TEST(the_signal_that_the_environment_names_dumps)
{
    EQ(setenv("PYTHREAD_DUMP_SIGNAL", "USR2", 1), 0);
    run_in_process(hang_dumped, 0);
    EQ(setenv("PYTHREAD_DUMP_SIGNAL", "SIGUSR2", 1), 0);
    run_in_process(hang_dumped, 0);
}

static void nothing_happens(long unused)
{
    struct sigaction action;
    (void)unused;
    EQ(sigaction(SIGUSR2, NULL, &action), 0);
    CHECK(action.sa_handler == SIG_DFL);
}

TEST(a_signal_that_the_environment_does_not_name_stays_as_it_is)
{
    EQ(unsetenv("PYTHREAD_DUMP_SIGNAL"), 0);
    run_in_process(nothing_happens, 0);
    EQ(setenv("PYTHREAD_DUMP_SIGNAL", "no signal", 1), 0);
    run_in_process(nothing_happens, 0);
}

static void fork_and_dump(void *door)
{
    pid_t child = fork_mortal();
    if (child == 0) {
        check_dump_has("thread 2 \"");
        check_dump_has("process %d\n", (int)getpid());
        /* With a name and without: its OS thread is not there to be asked. */
        check_dump_lacks("thread 1 \"");
        check_dump_lacks("thread 1,");
        PyThread_handle_t thread = start(wait_at_door, door);
        check_dump_has("thread 3 \"");
        sem_post(door);
        join(thread);
        check_dump_lacks("thread 3 \"");
        _exit(0);
    }
    reap(child, 0);
}

TEST(the_child_of_a_fork_shows_its_own_threads)
{
    test_skip_under_asan(ASAN_AFTER_FORK);
    sem_t door;
    EQ(sem_init(&door, 0, 0), 0);
    PyThread_handle_t blocked = start(wait_at_door, &door);
    check_dump_has("thread 1 \"");
    join(start(fork_and_dump, &door));
    sem_post(&door);
    join(blocked);
}
