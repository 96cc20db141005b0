/*
 * habits.h - threads that leave something on their OS threads, and check that they find nothing
 * there. They do both in every way, and end in every way. clean_test.c runs thousands of them,
 * clean_stress_test.c a million.
 */
#ifndef HABITS_H
#define HABITS_H

#include "counted_object.h"
#include "ends.h"
#include "process.h"
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* What a thread leaves on its OS thread. */
enum habit { NOTHING, VARIABLE, KEY, LATE_KEY, OBJECT, NAME, PROCESSORS, NICE, HABITS };

struct visit {
    enum habit habit;
    enum end end;
    /* Another visit was on the same OS thread before. */
    bool is_shared;
};

static __thread int variable = 3;
static __thread char zeros[100];
static pthread_key_t key, late_key;
/* The creator's values, which each thread must find. */
static cpu_set_t processors;
static int nice_value;
static atomic_int key_destructions, keys_set, ended;
/* An entry for each number of an OS thread. Linux has no higher numbers. */
enum { MOST_IDS = 1 << 22 };
static atomic_bool visited[MOST_IDS];

static inline void destroy_key(void *value)
{
    atomic_fetch_add((atomic_int *)value, 1);
}

static inline void begin(void)
{
    pthread_key_t others[40];
    CHECK(pythread_set_reuse(PYTHREAD_REUSE_CLEAN) != -1);
    EQ(pthread_key_create(&key, destroy_key), 0);
    for (int i = 0; i < 40; i++) {
        EQ(pthread_key_create(&others[i], NULL), 0);
    }
    EQ(pthread_key_create(&late_key, destroy_key), 0);
    EQ(sched_getaffinity(0, sizeof processors, &processors), 0);
    nice_value = getpriority(PRIO_PROCESS, 0);
    EQ(prctl(PR_SET_NAME, "creator"), 0);
}

/* Checks that the calling thread, which main created, is as pthread_create would have made it. */
static inline void find_all_new(void)
{
    char name[16];
    cpu_set_t now;
    EQ(variable, 3);
    for (size_t i = 0; i < sizeof zeros; i++) {
        EQ(zeros[i], 0);
    }
    EQ_PTR(pthread_getspecific(key), NULL);
    EQ_PTR(pthread_getspecific(late_key), NULL);
    EQ(prctl(PR_GET_NAME, name), 0);
    EQ_STR(name, "creator");
    EQ(sched_getaffinity(0, sizeof now, &now), 0);
    CHECK(CPU_EQUAL(&now, &processors));
    EQ(getpriority(PRIO_PROCESS, 0), nice_value);
}

static inline void leave_behind(enum habit habit)
{
    cpu_set_t one;
    switch (habit) {
    case VARIABLE:
        variable = 4;
        zeros[99] = 1;
        break;
    case KEY:
        EQ(pthread_setspecific(key, &key_destructions), 0);
        atomic_fetch_add(&keys_set, 1);
        break;
    case LATE_KEY:
        EQ(pthread_setspecific(late_key, &key_destructions), 0);
        atomic_fetch_add(&keys_set, 1);
        break;
    case OBJECT:
        CHECK(!object_was_touched());
        touch_object();
        break;
    case NAME:
        EQ(prctl(PR_SET_NAME, "changed"), 0);
        break;
    case PROCESSORS:
        CPU_ZERO(&one);
        CPU_SET(sched_getcpu(), &one);
        EQ(sched_setaffinity(0, sizeof one, &one), 0);
        break;
    case NICE:
        EQ(setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), nice_value + 1), 0);
        break;
    default:
        break;
    }
}

static inline void count_end(void *unused)
{
    (void)unused;
    atomic_fetch_add(&ended, 1);
}

static inline void visit_os_thread(void *arg)
{
    struct visit *visit = arg;
    visit->is_shared = atomic_exchange(&visited[PyThread_get_thread_native_id() % MOST_IDS], true);
    find_all_new();
    leave_behind(visit->habit);
    pthread_cleanup_push(count_end, NULL);
    end(visit->end);
    pthread_cleanup_pop(1);
}

static inline void check_destructors_ran(int threads)
{
    EQ(atomic_load(&ended), threads);
    EQ(atomic_load(&key_destructions), atomic_load(&keys_set));
    EQ(destroyed(), constructed());
}

/* Runs one thread after the other, with each habit from `habit` to before `last_habit`, and each
   end from `end` to before `last_end`. Checks that OS threads and memory have not grown. */
static inline void run_threads_in_turn(int threads, int habit, int last_habit, int end,
                                       int last_end)
{
    enum { FEW = 100 }; /* Go may have an OS thread for each Go processor, and its reserve */
    int habits = last_habit - habit, ends = last_end - end;
    long before = 0;
    for (int i = 0; i < threads; i++) {
        struct visit visit = {.habit = (enum habit)(habit + i % habits),
                              .end = (enum end)(end + i / habits % ends)};
        join(start(visit_os_thread, &visit));
        if (i == threads / 4) {
            before = resident_kib();
        }
    }
    check_destructors_ran(threads);
    check_nothing_is_left();
    LE(os_threads(), FEW);
    LE(resident_kib() - before, RESIDENT_SLACK_KIB);
}

/* Runs threads with random habits and ends, many at once. */
static inline void run_mixed_threads(int threads)
{
    enum { AT_ONCE = 64 };
    static struct visit visits[AT_ONCE];
    PyThread_handle_t handles[AT_ONCE];
    uint32_t state = 1;
    for (int done = 0; done < threads; done += AT_ONCE) {
        for (int i = 0; i < AT_ONCE; i++) {
            visits[i] = (struct visit){.habit = next_random(&state) % HABITS,
                                       .end = next_random(&state) % ENDS};
            handles[i] = start(visit_os_thread, &visits[i]);
        }
        for (int i = 0; i < AT_ONCE; i++) {
            join(handles[i]);
        }
        check_destructors_ran(done + AT_ONCE);
    }
}

#endif
