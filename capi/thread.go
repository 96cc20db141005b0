package capi

// #include "own.h"
// #include "thread.h"
// #include <errno.h>
import "C"

import (
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/seed-c0a0ef17/pythread/pythread"
)

// thread is a thread that C knows: C started it, or Go gave C a handle to it.
type thread struct {
	// handle is the core's. The thread and its start both store it, as either
	// may be the first to need it.
	handle atomic.Pointer[pythread.Handle]

	// What a thread on a goroutine runs, and what it inherits.
	fn      C.thread_func
	arg     unsafe.Pointer
	creator C.struct_inheritance

	// listed tells that the table has the thread, and that handle is stored.
	listed atomic.Bool

	// given is the C handle that ToHandle made; 0 where C started the thread,
	// whose C handle is its ident.
	given pythread.Ident

	// users are the thread until it has ended, its start until it is done,
	// and the C handle until it is spent. The last of them takes the thread
	// out of threads.
	users        atomic.Int32
	spent, ended atomic.Bool

	// osThread is what to wait for when the thread has ended: for the end of
	// the OS thread too, with all destructors of its storage behind it, or for
	// nothing where the OS thread goes on to run other threads.
	osThread sync.WaitGroup
}

var threads table

// newest is the newest ident that C was told.
var newest atomic.Uint64

func newThread(joinable bool) *thread {
	t := new(thread)
	if joinable {
		t.users.Store(3)
	} else {
		t.users.Store(2)
		t.spent.Store(true)
	}
	return t
}

// start starts t with main as what its goroutine does, and returns its ident.
func (t *thread) start(main func(*pythread.Handle)) C.PyThread_ident_t {
	h := pythread.StartWith(main)
	t.list(h)
	t.leave()
	ident := uint64(h.Ident())
	for n := newest.Load(); n < ident && !newest.CompareAndSwap(n, ident); {
		n = newest.Load()
	}
	return C.PyThread_ident_t(ident)
}

// list puts t into the table, under the ident of h, its handle. Either of the
// thread and its start may come first: the thread may join or detach by its own
// ident at once, the starter when the start has returned.
func (t *thread) list(h *pythread.Handle) {
	if !t.listed.Load() {
		t.handle.Store(h)
		threads.add(h.Ident(), t)
		t.listed.Store(true)
	}
}

func (t *thread) ident() pythread.Ident { return t.handle.Load().Ident() }

// end ends the thread, but for its handle.
func (t *thread) end() {
	t.ended.Store(true)
	t.leave()
}

// leave ends one use of t.
func (t *thread) leave() {
	if t.users.Add(-1) == 0 {
		if t.given != 0 {
			threads.remove(t.given)
		} else {
			threads.remove(t.ident())
		}
	}
}

// spend spends the C handle of t and reports whether it was not spent before.
func (t *thread) spend() bool {
	if t.spent.Swap(true) {
		return false
	}
	t.leave()
	return true
}

// find returns the thread of a C handle that is not spent, and else why there
// is none.
func find(handle C.PyThread_handle_t) (*thread, C.int) {
	if t := threads.get(pythread.Ident(handle)); t != nil && !t.spent.Load() {
		return t, 0
	}
	if handle != 0 && uint64(handle) <= newest.Load() || wasGiven(handle) {
		return nil, C.EINVAL
	}
	return nil, C.ESRCH
}

//export go_init_thread
func go_init_thread() { pythread.Init() }

//export go_get_stacksize
func go_get_stacksize() C.size_t { return C.size_t(pythread.GetStacksize()) }

//export go_set_stacksize
func go_set_stacksize(size C.size_t) C.int { return C.int(pythread.SetStacksize(int(size))) }

// go_set_name tells the name that the thread of C's, or in a Do, has given itself.
//
//export go_set_name
func go_set_name(ident C.PyThread_ident_t, name *C.char) {
	if h, ok := FromIdent(pythread.Ident(ident)); ok {
		h.SetName(C.GoString(name))
	}
}

//export go_start_thread
func go_start_thread(fn C.thread_func, arg unsafe.Pointer, creator C.struct_inheritance, joinable C.bool) C.PyThread_ident_t {
	t := newThread(bool(joinable))
	t.fn, t.arg, t.creator = fn, arg, creator
	return t.start(t.main)
}

// left counts the threads that have left their OS threads, which go on. It is
// thread.c's.
var left = (*atomic.Uint32)(unsafe.Pointer(&C.thread_counts.left))

// main is the thread from its begin to its end.
func (t *thread) main(h *pythread.Handle) {
	t.list(h)
	defer t.end()
	t.run(h)
}

// run runs fn on an OS thread of Go's.
func (t *thread) run(h *pythread.Handle) {
	// The goroutine stays on its OS thread, which C must leave as it found it,
	// whatever happens in fn.
	runtime.LockOSThread()
	hasLeft := false
	defer func() {
		if !hasLeft {
			// A Go function that fn called has panicked, or has called
			// runtime.Goexit: fn's frames are gone.
			C.thread_leave()
			runtime.UnlockOSThread()
			left.Add(1)
		}
	}()
	fate := C.thread_run(t.fn, t.arg, C.PyThread_ident_t(h.Ident()), t.creator)
	hasLeft = true
	// Go ends an OS thread that is locked to a goroutine which ends.
	switch fate {
	case C.OS_THREAD_IS_REUSABLE:
		runtime.UnlockOSThread()
		left.Add(1)
	case C.OS_THREAD_ENDS:
	case C.OS_THREAD_ENDS_WATCHED:
		t.watchOSThread()
	case C.OS_THREAD_WAS_UNFIT, C.OS_THREAD_NEVER_ENDS:
		// Since this goroutine keeps the OS thread, the other gets another one.
		C.thread_wait_for_room()
		value := pythread.StartWith(func(other *pythread.Handle) {
			other.SetName("runs thread " + strconv.FormatUint(uint64(h.Ident()), 10)) // for a dump
			t.run(h)
		}).Join()
		if fate == C.OS_THREAD_NEVER_ENDS {
			runtime.UnlockOSThread()
		}
		if value != nil {
			panic(value)
		}
	}
}

// Go never ends its first OS thread, on which it runs init functions.
func init() { C.thread_note_gos_first() }

// go_start_own starts a thread that C has on a pthread of its own, to be made
// next: its goroutine only waits for the pthread to end.
//
//export go_start_own
func go_start_own(joinable C.bool) C.PyThread_ident_t {
	t := newThread(bool(joinable))
	t.watchOSThread()
	return t.start(func(h *pythread.Handle) {
		t.list(h)
		t.osThread.Wait()
		t.end()
	})
}

// go_cancel_own takes back go_start_own where the pthread could not be made.
//
//export go_cancel_own
func go_cancel_own(ident C.PyThread_ident_t) {
	t := threads.get(pythread.Ident(ident))
	t.spend()
	t.endOSThread()
}

// watchOSThread has a join wait until C tells that the OS thread has ended.
func (t *thread) watchOSThread() {
	t.osThread.Add(1)
	t.users.Add(1)
	watchEnds()
}

func (t *thread) endOSThread() {
	t.osThread.Done()
	t.leave()
}

// watchEnds has a goroutine take the ends of OS threads from C, from now on.
var watchEnds = sync.OnceFunc(func() {
	go func() {
		for {
			threads.get(pythread.Ident(C.own_next_end())).endOSThread()
		}
	}()
})

//export go_join_thread
func go_join_thread(handle C.PyThread_handle_t, joiner C.PyThread_ident_t) C.int {
	t, errno := find(handle)
	if errno != 0 {
		return errno
	}
	if !t.join(pythread.Ident(joiner)) {
		return C.EDEADLK
	}
	t.osThread.Wait()
	t.spend()
	return 0
}

// joins guards joined: which thread each thread of ours waits to join.
var (
	joins  sync.Mutex
	joined = map[pythread.Ident]pythread.Ident{}
)

// join waits until t has ended. It reports false at once where that would be
// for ever: where t is the joiner, or waits for it, perhaps through others. Of
// several threads that close such a ring at once the last sees it, since all
// look and enter under one mutex.
func (t *thread) join(joiner pythread.Ident) bool {
	if joiner == 0 {
		t.handle.Load().Join()
		return true
	}
	joins.Lock()
	for next := t.ident(); next != 0; next = joined[next] {
		if next == joiner {
			joins.Unlock()
			return false
		}
	}
	joined[joiner] = t.ident()
	joins.Unlock()
	t.handle.Load().Join()
	joins.Lock()
	delete(joined, joiner)
	joins.Unlock()
	return true
}

//export go_detach_thread
func go_detach_thread(handle C.PyThread_handle_t) C.int {
	t, errno := find(handle)
	if errno == 0 && !t.spend() {
		errno = C.EINVAL
	}
	return errno
}
