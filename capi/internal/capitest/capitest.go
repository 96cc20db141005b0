// Package capitest has the C code of capi's tests and examples, because test files
// cannot have C code: calls of the functions of pythread.h as a C program makes
// them, and C threads that call Go functions.
package capitest

/*
#cgo CFLAGS: -I${SRCDIR}/../../../include
#include "pylock.h"
#include "pythread.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <ucontext.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

extern void capitest_call(void *func);

static void nothing(void *unused) { (void)unused; }

static int start_joinable(uintptr_t func, PyThread_ident_t *ident, PyThread_handle_t *handle)
{
    return PyThread_start_joinable_thread(capitest_call, (void *)func, ident, handle);
}

static int start_and_join(int threads)
{
	PyThread_ident_t ident;
	PyThread_handle_t handle;
	for (int i = 0; i < threads; i++) {
		if (PyThread_start_joinable_thread(nothing, NULL, &ident, &handle) != 0 ||
			PyThread_join_thread(handle) != 0) {
			return -1;
		}
	}
	return 0;
}

static unsigned long start_detached(uintptr_t func)
{
    return PyThread_start_new_thread(capitest_call, (void *)func);
}

static int tss_set(Py_tss_t *key, uintptr_t value)
{
    return PyThread_tss_set(key, (void *)value);
}

static uintptr_t tss_get(Py_tss_t *key)
{
    return (uintptr_t)PyThread_tss_get(key);
}

// Returns how many bytes are allocated by malloc; 0 if malloc does not say.
static size_t allocated(void)
{
#ifdef __GLIBC__
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
#else
    return 0;
#endif
}

// The number of cleanup handlers that have run.
int capitest_cleanups __attribute__((weak));

static void clean_up(void *arg)
{
    capitest_cleanups++;
}

static void call_and_exit(void *func)
{
    pthread_cleanup_push(clean_up, NULL);
    capitest_call(func);
    PyThread_exit_thread();
    pthread_cleanup_pop(0);
}

// One thread at a time may call this.
static void exit_in_coroutine(void)
{
    enum { STACK = 64 * 1024 };
    static char stack[STACK];
    ucontext_t coroutine, back;
    getcontext(&coroutine);
    coroutine.uc_stack.ss_sp = stack;
    coroutine.uc_stack.ss_size = STACK;
    coroutine.uc_link = NULL;
    makecontext(&coroutine, PyThread_exit_thread, 0);
    swapcontext(&back, &coroutine);
}

static int start_that_exits(uintptr_t func, PyThread_ident_t *ident, PyThread_handle_t *handle)
{
    return PyThread_start_joinable_thread(call_and_exit, (void *)func, ident, handle);
}

// mallinfo2 counts one arena, so malloc must use only one.
__attribute__((constructor)) static void have_one_arena(void)
{
#ifdef __GLIBC__
    mallopt(M_ARENA_MAX, 1);
#endif
}

// Thread-local variables in the program itself, one with a value and some that are zero.
static __thread int variable = 3;
static __thread char zeros[100];

struct visit {
    int changes, found_initial;
    unsigned long os_thread;
};

static void visit_os_thread(void *arg)
{
    struct visit *visit = arg;
    visit->os_thread = PyThread_get_thread_native_id();
    visit->found_initial = variable == 3;
    for (size_t i = 0; i < sizeof zeros; i++) {
        visit->found_initial &= zeros[i] == 0;
    }
    if (visit->changes) {
        variable = 4;
        zeros[99] = 1;
    }
}

static int run_visit(struct visit *visit)
{
    PyThread_ident_t ident;
    PyThread_handle_t handle;
    return PyThread_start_joinable_thread(visit_os_thread, visit, &ident, &handle) != 0 ||
           PyThread_join_thread(handle) != 0;
}

static void count(PyThread_type_lock lock, long long *counter, int times)
{
    for (int i = 0; i < times; i++) {
        PyThread_acquire_lock(lock, WAIT_LOCK);
        ++*counter;
        PyThread_release_lock(lock);
    }
}

// The inline functions of pylock.h, as C code has them.
static void lock_mutex(void *mutex) { PyMutex_Lock(mutex); }
static void unlock_mutex(void *mutex) { PyMutex_Unlock(mutex); }

// A critical section in memory of its own, because each call from Go has new frames.
static PyCriticalSection *begin_section(void *mutex)
{
    PyCriticalSection *section = calloc(1, sizeof *section);
    PyCriticalSection_BeginMutex(section, mutex);
    return section;
}

static void end_section(PyCriticalSection *section)
{
    PyCriticalSection_End(section);
    free(section);
}

// What a plain pthread counts, under a mutex.
struct counting {
    pthread_t thread;
    PyMutex *mutex;
    long long *counter;
    int times;
};

static void *count_under_mutex(void *arg)
{
    struct counting *counting = arg;
    for (int i = 0; i < counting->times; i++) {
        PyMutex_Lock(counting->mutex);
        ++*counting->counter;
        PyMutex_Unlock(counting->mutex);
    }
    return NULL;
}

static struct counting *start_counting(void *mutex, long long *counter, int times)
{
    struct counting *counting = malloc(sizeof *counting);
    if (counting != NULL) {
        *counting = (struct counting){.mutex = mutex, .counter = counter, .times = times};
        if (pthread_create(&counting->thread, NULL, count_under_mutex, counting) != 0) {
            free(counting);
            counting = NULL;
        }
    }
    return counting;
}

static void end_counting(struct counting *counting)
{
    pthread_join(counting->thread, NULL);
    free(counting);
}

// A plain pthread that waits for one mutex and unlocks another, again and again.
struct handing {
    pthread_t thread;
    PyMutex there, back;
    int times;
};

static void *hand_back(void *arg)
{
    struct handing *handing = arg;
    for (int i = 0; i < handing->times; i++) {
        PyMutex_Lock(&handing->there);
        PyMutex_Unlock(&handing->back);
    }
    return NULL;
}

static int start_handing(struct handing *handing)
{
    return pthread_create(&handing->thread, NULL, hand_back, handing);
}

// The same between two pthreads.
static void hand_in_c(struct handing *handing)
{
    for (int i = 0; i < handing->times; i++) {
        PyMutex_Unlock(&handing->there);
        PyMutex_Lock(&handing->back);
    }
}
*/
import "C"

import (
	"runtime/cgo"
	"syscall"
	"unsafe"

	_ "github.com/seed-c0a0ef17/pythread/capi"
	"github.com/seed-c0a0ef17/pythread/pythread"
)

//export capitest_call
func capitest_call(f unsafe.Pointer) {
	h := cgo.Handle(uintptr(f))
	fn := h.Value().(func())
	h.Delete()
	fn()
}

// Start starts, in C, a joinable thread that calls fn. It returns the thread's
// ident and its PyThread_handle_t.
func Start(fn func()) (pythread.Ident, uintptr) {
	var ident C.PyThread_ident_t
	var handle C.PyThread_handle_t
	if C.start_joinable(C.uintptr_t(cgo.NewHandle(fn)), &ident, &handle) != 0 {
		panic("PyThread_start_joinable_thread failed")
	}
	return pythread.Ident(ident), uintptr(handle)
}

// StartThatExits starts, in C, a joinable thread that calls fn and, below a cleanup
// handler, PyThread_exit_thread. It returns the thread's PyThread_handle_t.
func StartThatExits(fn func()) uintptr {
	var ident C.PyThread_ident_t
	var handle C.PyThread_handle_t
	if C.start_that_exits(C.uintptr_t(cgo.NewHandle(fn)), &ident, &handle) != 0 {
		panic("PyThread_start_joinable_thread failed")
	}
	return uintptr(handle)
}

// Cleanups returns how many of those cleanup handlers have run. Their threads
// have been joined.
func Cleanups() int { return int(C.capitest_cleanups) }

// StartDetached starts, in C, a detached thread that calls fn, and returns its ident.
func StartDetached(fn func()) pythread.Ident {
	return pythread.Ident(C.start_detached(C.uintptr_t(cgo.NewHandle(fn))))
}

// StartAndJoin starts and joins so many threads in C, one after another.
func StartAndJoin(threads int) bool { return C.start_and_join(C.int(threads)) == 0 }

// Join is PyThread_join_thread. 0 means success.
func Join(handle uintptr) syscall.Errno {
	return syscall.Errno(C.PyThread_join_thread(C.PyThread_handle_t(handle)))
}

// Detach is PyThread_detach_thread. 0 means success.
func Detach(handle uintptr) syscall.Errno {
	return syscall.Errno(C.PyThread_detach_thread(C.PyThread_handle_t(handle)))
}

// Ident is PyThread_get_thread_ident_ex.
func Ident() pythread.Ident { return pythread.Ident(C.PyThread_get_thread_ident_ex()) }

// SetName is pythread_set_name.
func SetName(name string) syscall.Errno {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	return syscall.Errno(C.pythread_set_name(text))
}

// Exit is PyThread_exit_thread.
func Exit() { C.PyThread_exit_thread() }

// ExitInCoroutine calls PyThread_exit_thread on a stack that C code has made.
func ExitInCoroutine() { C.exit_in_coroutine() }

// Key is a Py_tss_t, a key for thread-specific storage.
type Key struct{ key *C.Py_tss_t }

// NewKey is PyThread_tss_alloc and PyThread_tss_create.
func NewKey() Key {
	k := Key{C.PyThread_tss_alloc()}
	if C.PyThread_tss_create(k.key) != 0 {
		panic("PyThread_tss_create failed")
	}
	return k
}

// Set is PyThread_tss_set. The value is a number in place of a pointer.
func (k Key) Set(value uintptr) {
	if C.tss_set(k.key, C.uintptr_t(value)) != 0 {
		panic("PyThread_tss_set failed")
	}
}

// Get is PyThread_tss_get. 0 means that there is no value.
func (k Key) Get() uintptr { return uintptr(C.tss_get(k.key)) }

// Free is PyThread_tss_free.
func (k Key) Free() { C.PyThread_tss_free(k.key) }

// AllocateLock is PyThread_allocate_lock.
func AllocateLock() unsafe.Pointer { return unsafe.Pointer(C.PyThread_allocate_lock()) }

// Acquire is PyThread_acquire_lock.
func Acquire(lock unsafe.Pointer, wait bool) bool {
	how := C.int(C.NOWAIT_LOCK)
	if wait {
		how = C.WAIT_LOCK
	}
	return C.PyThread_acquire_lock(C.PyThread_type_lock(lock), how) == 1
}

// Release is PyThread_release_lock.
func Release(lock unsafe.Pointer) { C.PyThread_release_lock(C.PyThread_type_lock(lock)) }

// Count adds 1 to the counter `times` times, each time under the lock.
func Count(lock unsafe.Pointer, counter *int64, times int) {
	C.count(C.PyThread_type_lock(lock), (*C.longlong)(counter), C.int(times))
}

// NewMutex returns a PyMutex in C memory, which is free, and FreeMutex gives the memory
// back.
func NewMutex() unsafe.Pointer { return C.calloc(1, 1) }

func FreeMutex(mutex unsafe.Pointer) { C.free(mutex) }

// LockMutex is PyMutex_Lock.
func LockMutex(mutex unsafe.Pointer) { C.lock_mutex(mutex) }

// UnlockMutex is PyMutex_Unlock.
func UnlockMutex(mutex unsafe.Pointer) { C.unlock_mutex(mutex) }

// BeginSection is PyCriticalSection_BeginMutex. The function that it returns is
// PyCriticalSection_End, on the same OS thread.
func BeginSection(mutex unsafe.Pointer) (end func()) {
	section := C.begin_section(mutex)
	return func() { C.end_section(section) }
}

// LockMutexTimed is pythread_mutex_lock_timed, without intr_flag.
func LockMutexTimed(mutex unsafe.Pointer, us int64) pythread.LockStatus {
	return pythread.LockStatus(C.pythread_mutex_lock_timed((*C.PyMutex)(mutex), C.longlong(us), 0))
}

// MutexBits returns the byte.
func MutexBits(mutex unsafe.Pointer) uint8 { return uint8(C.PyMutex(*(*C.PyMutex)(mutex))._bits) }

// StartCounting starts a plain pthread that adds 1 to the counter, in C memory, `times`
// times, each time under the mutex. The function that it returns waits for the end.
func StartCounting(mutex unsafe.Pointer, counter *int64, times int) (wait func()) {
	counting := C.start_counting(mutex, (*C.longlong)(counter), C.int(times))
	if counting == nil {
		panic("no pthread")
	}
	return func() { C.end_counting(counting) }
}

// NewCounter returns a number in C memory.
func NewCounter() *int64 { return (*int64)(C.calloc(1, 8)) }

// FreeCounter frees a number of NewCounter.
func FreeCounter(counter *int64) { C.free(unsafe.Pointer(counter)) }

// HandBackAndForth runs two sides, `times` times: a plain pthread waits for the mutex there
// and unlocks the mutex back, and main does the reverse. If main is nil, another plain
// pthread does.
func HandBackAndForth(times int, main func(there, back unsafe.Pointer)) {
	handing := (*C.struct_handing)(C.calloc(1, C.sizeof_struct_handing))
	defer C.free(unsafe.Pointer(handing))
	handing.times = C.int(times)
	there, back := unsafe.Pointer(&handing.there), unsafe.Pointer(&handing.back)
	LockMutex(there)
	LockMutex(back)
	if C.start_handing(handing) != 0 {
		panic("no pthread")
	}
	if main == nil {
		C.hand_in_c(handing)
	} else {
		main(there, back)
	}
	C.pthread_join(handing.thread, nil)
}

// Stats is pythread_get_stats.
func Stats() (threads, handles int) {
	var stats C.pythread_stats
	C.pythread_get_stats(&stats, C.sizeof_pythread_stats)
	return int(stats.threads), int(stats.handles)
}

// Allocated returns how many bytes C code has allocated; 0 if malloc does not say.
func Allocated() int { return int(C.allocated()) }

// ReuseClean is pythread_set_reuse(PYTHREAD_REUSE_CLEAN). It reports whether the
// mode exists.
func ReuseClean() bool { return C.pythread_set_reuse(C.PYTHREAD_REUSE_CLEAN) != -1 }

// Visit runs a C thread that reads thread-local variables of C code in the program,
// and changes them if asked to. It reports whether
// the thread found their initial values, and the number of its OS thread.
func Visit(changes bool) (foundInitial bool, osThread uint64) {
	var visit C.struct_visit
	if changes {
		visit.changes = 1
	}
	if C.run_visit(&visit) != 0 {
		panic("no thread")
	}
	return visit.found_initial != 0, uint64(visit.os_thread)
}
