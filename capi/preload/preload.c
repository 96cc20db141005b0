/*
 * preload.c - libpythread-preload.so, the companion of libpythread.so under a real Python.
 * pythread-run preloads both, this one first.
 *
 * A real Python gives a thread's ident to functions of the C library that take a pthread_t, as in
 * signal.pthread_kill(thread.ident, ...). It also sets stack sizes, by threading.stack_size(n).
 * Neither makes sense for threads that share OS threads, so libpythread.so supports neither.
 *
 * Here these functions accept an ident of the library, and use the OS thread of that thread. If the
 * thread has ended, they return ESRCH. Any other pthread_t goes to the C library unchanged. An
 * ident is a small number and a pthread_t is an address, so they cannot be confused.
 *
 * Invariant: a thread leaves the table with the mutex, before it ends. So a thread that is RUNNING
 * does not end while another thread holds the mutex, and its pthread_t stays valid. All signals are
 * blocked meanwhile, so that a handler may call these functions too.
 *
 * This calls only the public functions of libpythread.so. It replaces functions by their names, and
 * defines pythread_preload_stacksize (system/stack.h).
 */
#define _GNU_SOURCE
#include "pythread.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ------------------------------------------------------------------------ the replaced functions
 */

/* The functions that this library replaces. */
static struct {
    unsigned long (*start_new)(void (*)(void *), void *);
    int (*start_joinable)(void (*)(void *), void *, PyThread_ident_t *, PyThread_handle_t *);
    int (*kill)(pthread_t, int);
    int (*sigqueue)(pthread_t, int, const union sigval);
    int (*getcpuclockid)(pthread_t, clockid_t *);
    int (*getname)(pthread_t, char *, size_t);
    int (*setname)(pthread_t, const char *);
    int (*getaffinity)(pthread_t, size_t, cpu_set_t *);
    int (*setaffinity)(pthread_t, size_t, const cpu_set_t *);
    int (*getschedparam)(pthread_t, int *, struct sched_param *);
    int (*setschedparam)(pthread_t, int, const struct sched_param *);
    int (*getattr)(pthread_t, pthread_attr_t *);
} next;

static void find_next(const char *name, void *function)
{
    void *address = dlsym(RTLD_NEXT, name);
    memcpy(function, &address, sizeof address);
}

/* This is the first constructor of the process (-z initfirst), because Go calls some of these while
   it starts. */
__attribute__((constructor)) static void find_all(void)
{
    find_next("PyThread_start_new_thread", &next.start_new);
    find_next("PyThread_start_joinable_thread", &next.start_joinable);
    find_next("pthread_kill", &next.kill);
    find_next("pthread_sigqueue", &next.sigqueue);
    find_next("pthread_getcpuclockid", &next.getcpuclockid);
    find_next("pthread_getname_np", &next.getname);
    find_next("pthread_setname_np", &next.setname);
    find_next("pthread_getaffinity_np", &next.getaffinity);
    find_next("pthread_setaffinity_np", &next.setaffinity);
    find_next("pthread_getschedparam", &next.getschedparam);
    find_next("pthread_setschedparam", &next.setschedparam);
    find_next("pthread_getattr_np", &next.getattr);
}

/* ------------------------------------------------------------------------ the table of threads */

/* A thread from its start to its end. */
struct thread {
    void (*func)(void *);
    void *arg;
    enum { UNKNOWN, STARTING, RUNNING, ENDED } state;
    /* Known from STARTING on. */
    PyThread_ident_t ident;
    /* Known while RUNNING. */
    pthread_t os_thread;
    /* The start and the thread use it; the last one frees it. */
    int users;
    struct thread *next;
};

enum { BUCKETS = 1024 };
static struct thread *threads[BUCKETS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* The newest ident so far. Relaxed: it only tells idents from addresses. */
static _Atomic PyThread_ident_t newest;

static void lock(sigset_t *signals)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, signals);
    pthread_mutex_lock(&mutex);
}

static void unlock(const sigset_t *signals)
{
    pthread_mutex_unlock(&mutex);
    pthread_sigmask(SIG_SETMASK, signals, NULL);
}

/* Returns the place of the thread with an ident in its bucket, or its end. The caller has the
 * mutex. */
static struct thread **find(PyThread_ident_t ident)
{
    struct thread **place = &threads[ident % BUCKETS];
    while (*place != NULL && (*place)->ident != ident) {
        place = &(*place)->next;
    }
    return place;
}

/* Adds the thread, unless it is there. The start and the thread both call this, in any order. The
   caller has the mutex. */
static void enter(struct thread *thread, PyThread_ident_t ident)
{
    if (thread->state == UNKNOWN) {
        thread->state = STARTING;
        thread->ident = ident;
        thread->next = threads[ident % BUCKETS];
        threads[ident % BUCKETS] = thread;
        if (ident > atomic_load_explicit(&newest, memory_order_relaxed)) {
            atomic_store_explicit(&newest, ident, memory_order_relaxed);
        }
    }
}

/* The caller has the mutex. */
static void leave(struct thread *thread)
{
    if (--thread->users == 0) {
        free(thread);
    }
}

/*
 * Ends the calling thread, unless it has ended or the library has not started it. From now on the
 * thread blocks signals. Otherwise the kernel could give it a signal to the process for which it
 * has already woken the main thread. Then a Ctrl-C would not end a wait of the main thread.
 */
static void end(void *unused)
{
    sigset_t signals;
    (void)unused;
    lock(&signals);
    struct thread **place = find(PyThread_get_thread_ident_ex()), *thread = *place;
    if (thread != NULL) {
        *place = thread->next;
        thread->state = ENDED;
        leave(thread);
    }
    pthread_mutex_unlock(&mutex);
}

static void run(void *arg)
{
    struct thread *thread = arg;
    sigset_t signals;
    lock(&signals);
    enter(thread, PyThread_get_thread_ident_ex());
    thread->os_thread = pthread_self();
    thread->state = RUNNING;
    void (*func)(void *) = thread->func;
    void *func_arg = thread->arg;
    unlock(&signals);
    pthread_cleanup_push(end, NULL);
    func(func_arg);
    pthread_cleanup_pop(1);
}

static struct thread *new_thread(void (*func)(void *), void *arg)
{
    int saved = errno;
    struct thread *thread = func == NULL ? NULL : calloc(1, sizeof *thread);
    if (thread != NULL) {
        thread->func = func;
        thread->arg = arg;
        thread->users = 2;
    }
    errno = saved;
    return thread;
}

/* Ends a start: the thread has this ident. */
static void has_started(struct thread *thread, PyThread_ident_t ident)
{
    sigset_t signals;
    lock(&signals);
    enter(thread, ident);
    leave(thread);
    unlock(&signals);
}

unsigned long PyThread_start_new_thread(void (*func)(void *), void *arg)
{
    struct thread *thread = new_thread(func, arg);
    if (thread == NULL) {
        return PYTHREAD_INVALID_THREAD_ID;
    }
    unsigned long ident = next.start_new(run, thread);
    if (ident == PYTHREAD_INVALID_THREAD_ID) {
        free(thread);
    } else {
        has_started(thread, ident);
    }
    return ident;
}

int PyThread_start_joinable_thread(void (*func)(void *), void *arg, PyThread_ident_t *ident,
                                   PyThread_handle_t *handle)
{
    /* Other threads may read the caller's variables and use the ident at once. So these are set
       after the ident is in the table. */
    PyThread_ident_t started_ident;
    PyThread_handle_t started_handle;
    struct thread *thread;
    if (ident == NULL || handle == NULL || (thread = new_thread(func, arg)) == NULL) {
        return -1;
    }
    int error = next.start_joinable(run, thread, &started_ident, &started_handle);
    if (error != 0) {
        free(thread);
    } else {
        has_started(thread, started_ident);
        *ident = started_ident;
        *handle = started_handle;
    }
    return error;
}

/* ------------------------------------------------------------------------ fork */

static sigset_t signals_before_fork;

static void before_fork(void)
{
    lock(&signals_before_fork);
}

static void after_fork_in_parent(void)
{
    sigset_t signals = signals_before_fork;
    unlock(&signals);
}

/* The child has only the thread that forked. The records of the other threads are leaked, as the
   memory of those threads is. */
static void after_fork_in_child(void)
{
    struct thread *self = *find(PyThread_get_thread_ident_ex());
    memset(threads, 0, sizeof threads);
    if (self != NULL) {
        self->next = NULL;
        *find(self->ident) = self;
    }
    after_fork_in_parent();
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* ------------------------------------------------------------------------ pthread_t and idents */

/* The target of a call: an OS thread, which cannot end while it is held; or an error. */
struct target {
    pthread_t os_thread;
    int error;
    bool is_held;
    sigset_t signals;
};

static struct target hold(pthread_t thread)
{
    struct target target = {.os_thread = thread};
    if (thread == 0 || thread > atomic_load_explicit(&newest, memory_order_relaxed)) {
        return target;
    }
    if (thread == PyThread_get_thread_ident_ex()) {
        /* The caller does not end meanwhile. It may be in a signal handler before the thread is
           RUNNING, and would wait for that for ever. */
        target.os_thread = pthread_self();
        return target;
    }
    lock(&target.signals);
    struct thread *found;
    while ((found = *find(thread)) != NULL && found->state == STARTING) {
        unlock(&target.signals);
        sched_yield();
        lock(&target.signals);
    }
    if (found != NULL) {
        target.os_thread = found->os_thread;
        target.is_held = true;
    } else {
        target.error = ESRCH;
        unlock(&target.signals);
    }
    return target;
}

static int let_go(const struct target *target, int result)
{
    if (target->is_held) {
        unlock(&target->signals);
    }
    return result;
}

int pthread_kill(pthread_t thread, int signal)
{
    struct target target = hold(thread);
    return let_go(&target, target.error != 0 ? target.error : next.kill(target.os_thread, signal));
}

int pthread_sigqueue(pthread_t thread, int signal, const union sigval value)
{
    struct target target = hold(thread);
    return let_go(&target, target.error != 0 ? target.error
                                             : next.sigqueue(target.os_thread, signal, value));
}

int pthread_getcpuclockid(pthread_t thread, clockid_t *clock)
{
    struct target target = hold(thread);
    return let_go(&target,
                  target.error != 0 ? target.error : next.getcpuclockid(target.os_thread, clock));
}

int pthread_getname_np(pthread_t thread, char *name, size_t size)
{
    struct target target = hold(thread);
    return let_go(&target,
                  target.error != 0 ? target.error : next.getname(target.os_thread, name, size));
}

int pthread_setname_np(pthread_t thread, const char *name)
{
    struct target target = hold(thread);
    return let_go(&target, target.error != 0 ? target.error : next.setname(target.os_thread, name));
}

int pthread_getaffinity_np(pthread_t thread, size_t size, cpu_set_t *set)
{
    struct target target = hold(thread);
    return let_go(&target,
                  target.error != 0 ? target.error : next.getaffinity(target.os_thread, size, set));
}

int pthread_setaffinity_np(pthread_t thread, size_t size, const cpu_set_t *set)
{
    struct target target = hold(thread);
    return let_go(&target,
                  target.error != 0 ? target.error : next.setaffinity(target.os_thread, size, set));
}

int pthread_getschedparam(pthread_t thread, int *policy, struct sched_param *param)
{
    struct target target = hold(thread);
    return let_go(&target, target.error != 0 ? target.error
                                             : next.getschedparam(target.os_thread, policy, param));
}

int pthread_setschedparam(pthread_t thread, int policy, const struct sched_param *param)
{
    struct target target = hold(thread);
    return let_go(&target, target.error != 0 ? target.error
                                             : next.setschedparam(target.os_thread, policy, param));
}

int pthread_getattr_np(pthread_t thread, pthread_attr_t *attr)
{
    struct target target = hold(thread);
    return let_go(&target, target.error != 0 ? target.error : next.getattr(target.os_thread, attr));
}

/* ------------------------------------------------------------------------ stack sizes */

/* Relaxed: it publishes no other memory. */
static atomic_size_t stack_size;

size_t pythread_preload_stacksize(void);

size_t pythread_preload_stacksize(void)
{
    return atomic_load_explicit(&stack_size, memory_order_relaxed);
}

size_t PyThread_get_stacksize(void)
{
    return pythread_preload_stacksize();
}

int PyThread_set_stacksize(size_t size)
{
    enum { LEAST = 32768 };
    int saved = errno;
    bool is_good = size == 0;
    if (size >= LEAST && size >= (size_t)sysconf(_SC_THREAD_STACK_MIN)) {
        pthread_attr_t attr;
        pthread_attr_init(&attr);
        is_good = pthread_attr_setstacksize(&attr, size) == 0;
        pthread_attr_destroy(&attr);
    }
    if (is_good) {
        atomic_store_explicit(&stack_size, size, memory_order_relaxed);
    }
    errno = saved;
    return is_good ? 0 : -1;
}

/* ------------------------------------------------------------------------ callers */

/* Returns the address in an entry of the dynamic section. Most systems have relocated it already.
 */
static const void *address_of(const struct dl_phdr_info *info, const ElfW(Dyn) * entry)
{
    ElfW(Addr) address = entry->d_un.d_ptr;
    return (const void *)(address < info->dlpi_addr ? address + info->dlpi_addr : address);
}

/* The symbols that an object needs from the dynamic linker. */
struct requests {
    const char *strings;
    const ElfW(Sym) * symbols;
    /* Relocations of functions that it calls, and all others. */
    const ElfW(Rela) * calls, *others;
    size_t calls_size, others_size;
};

static struct requests requests_of(const struct dl_phdr_info *info)
{
    struct requests requests = {0};
    const ElfW(Dyn) *entry = NULL;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC) {
            entry = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        }
    }
    for (; entry != NULL && entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag == DT_STRTAB) {
            requests.strings = address_of(info, entry);
        } else if (entry->d_tag == DT_SYMTAB) {
            requests.symbols = address_of(info, entry);
        } else if (entry->d_tag == DT_JMPREL) {
            requests.calls = address_of(info, entry);
        } else if (entry->d_tag == DT_PLTRELSZ) {
            requests.calls_size = entry->d_un.d_val;
        } else if (entry->d_tag == DT_RELA) {
            requests.others = address_of(info, entry);
        } else if (entry->d_tag == DT_RELASZ) {
            requests.others_size = entry->d_un.d_val;
        }
    }
    return requests;
}

static bool has_name(const struct requests *requests, const ElfW(Rela) * table, size_t size,
                     const char *name)
{
    for (size_t i = 0; table != NULL && i < size / sizeof *table; i++) {
        /* On 64-bit systems the upper half of r_info is the symbol. */
        const ElfW(Sym) *symbol = &requests->symbols[table[i].r_info >> 32];
        if (strcmp(requests->strings + symbol->st_name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* dl_iterate_phdr calls this for each object. Returns 1, which ends the iteration, if the object
   starts threads through the dynamic linker. */
static int starts_threads(struct dl_phdr_info *info, size_t size, void *unused)
{
    static const char name[] = "PyThread_start_new_thread";
    struct requests requests = requests_of(info);
    (void)size;
    (void)unused;
    return has_name(&requests, requests.calls, requests.calls_size, name) ||
           has_name(&requests, requests.others, requests.others_size, name);
}

/* Removes the variable that pythread-run sets from the environment, and reports whether it was
   there. The C library's getenv does not work yet, because no other constructor has run. */
static bool take_request(char **environment)
{
    static const char variable[] = "PYTHREAD_RUN=";
    while (*environment != NULL && strncmp(*environment, variable, sizeof variable - 1) != 0) {
        environment++;
    }
    bool found = *environment != NULL;
    for (; *environment != NULL; environment++) {
        environment[0] = environment[1];
    }
    return found;
}

/* Prints a message if the program of pythread-run is a Python that does not call this library. This
   also checks programs that other programs run, such as a shell. */
__attribute__((constructor)) static void look_for_callers(int argc, char **argv, char **environment)
{
    static const char message[] =
        "pythread-run: this Python does not call its thread layer through "
        "the dynamic linker, so it runs on its own\n";
    (void)argc;
    (void)argv;
    if (dlsym(RTLD_DEFAULT, "Py_IsInitialized") != NULL && take_request(environment) &&
        dl_iterate_phdr(starts_threads, NULL) == 0 && write(2, message, sizeof message - 1) < 0) {
        return;
    }
}
