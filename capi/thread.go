package capi

// #include "thread/ends.h"
// #include "thread/own_os_thread.h"
// #include "thread/trampoline.h"
// #include "thread/runner.h"
// #include "thread/forked.h"
// #include "thread/permit.h"
// #include <errno.h>
import "C"

import (
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/seed-c0a0ef17/pythread/pythread"
)

// thread is a thread that C knows: C started it, or Go gave C a handle to it.
type thread struct {
	// core is the core's thread if C started it. handle is its handle, or the
	// handle of the thread that Go started.
	core   *pythread.Prepared
	handle *pythread.Handle

	// What C starts the thread with. C sets it, except for the ident, before the
	// start is made. A thread whose start is not made yet waits for it (runner.c).
	// To C code that thread does not exist.
	start C.struct_thread_start

	// The thread whose start the goroutine awaits after this thread.
	next *thread

	// given is the C handle that ToHandle made. It is 0 if C started the thread;
	// then its C handle is its ident.
	given pythread.Ident

	// users counts the thread until it has ended, its C handle until the handle
	// is spent, and its OS thread if that ends with it. The last user removes the
	// thread from threads. A handle is spent when it was joined or detached. The
	// handle of a thread that is not joinable is spent when the thread ends.
	users        atomic.Int32
	spent, ended atomic.Bool

	// running counts what a join waits for: the thread, and its OS thread, with
	// its destructors, if that ends with the thread.
	running atomic.Int32
}

var threads table

// newest is the newest ident of a thread that C has started.
var newest = (*atomic.Uint64)(unsafe.Pointer(&C.forked_newest_ident))

// newThread makes a thread with this start, which may be made already or later.
func newThread(start C.struct_thread_start) *thread {
	t := &thread{core: pythread.Prepare(), start: start}
	t.handle = t.core.Handle()
	t.start.ident = C.PyThread_ident_t(t.ident())
	t.running.Store(1)
	t.users.Store(2)
	threads.add(t.ident(), t)
	if t.isStarted() {
		// As forked_count_from does, without a call of C.
		ident := uint64(t.ident())
		for n := newest.Load(); n < ident && !newest.CompareAndSwap(n, ident); {
			n = newest.Load()
		}
	}
	return t
}

// isStarted reports whether the start of t is made.
func (t *thread) isStarted() bool {
	state := (*atomic.Uint32)(unsafe.Pointer(&t.start.state))
	return state.Load() == C.START_IS_MADE
}

// isSpent reports whether C has no handle of t, or no longer has one.
func (t *thread) isSpent() bool {
	return !t.isStarted() || !bool(t.start.is_joinable) || t.spent.Load()
}

func (t *thread) ident() pythread.Ident { return t.handle.Ident() }

// key is the key of t in the table: the C handle.
func (t *thread) key() pythread.Ident {
	if t.given != 0 {
		return t.given
	}
	return t.ident()
}

// end ends the thread. Its handle may remain.
func (t *thread) end() {
	t.ended.Store(true)
	t.stop()
	t.leave()
	if !t.start.is_joinable {
		t.spend()
	}
}

// leave ends one use of t.
func (t *thread) leave() {
	if t.users.Add(-1) == 0 {
		threads.remove(t.key())
	}
}

// spend spends the C handle of t. It reports false if the handle was spent before.
func (t *thread) spend() bool {
	if t.spent.Swap(true) {
		return false
	}
	t.leave()
	return true
}

// find returns the thread of a C handle. It returns an errno if the handle is spent,
// or never was a handle.
func find(handle C.PyThread_handle_t) (*thread, C.int) {
	if t := threads.get(pythread.Ident(handle)); t != nil && !t.isSpent() {
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

// go_set_name notes the name that a thread of C, or a thread in Do, gives itself.
//
//export go_set_name
func go_set_name(ident C.PyThread_ident_t, name *C.char) {
	if h, ok := FromIdent(pythread.Ident(ident)); ok {
		h.SetName(C.GoString(name))
	}
}

// go_start_thread starts a thread on a goroutine. seen becomes the count of ends
// that changes when the thread ends.
//
//export go_start_thread
func go_start_thread(start *C.struct_thread_start, seen *C.uint) C.PyThread_ident_t {
	t := newThread(*start)
	*seen = C.uint(endCounts[t.ident()%C.END_COUNTS].ends.Load())
	go run(t)
	return t.start.ident
}

// run runs t, and the threads that are started next. After each one the goroutine
// waits for a while for the next start, in C.
func run(t *thread) {
	for t != nil {
		t = t.main()
	}
}

// left counts the threads that have left their OS threads to others (permit.c).
var left = (*atomic.Uint32)(unsafe.Pointer(&C.thread_counts.left))

// main is the whole life of the thread. It returns the next thread of the
// goroutine, or nil if the goroutine must end.
func (t *thread) main() *thread {
	// The goroutine stays on its OS thread until C has restored the OS thread. If it
	// ends without UnlockOSThread, Go ends the OS thread.
	runtime.LockOSThread()
	switch C.runner_prepare(&t.start) {
	case C.OS_THREAD_IS_IDLE:
		runtime.UnlockOSThread()
		t.core.Run(func(*pythread.Handle) {})
		t.end()
		return nil
	case C.OS_THREAD_IS_UNFIT:
		// The OS thread ends with this goroutine. Its end counts as that of a thread,
		// but the thread keeps its permit, and goes on to another OS thread.
		left.Add(^uint32(0))
		C.runner_recall()
		go run(t)
		return nil
	case C.OS_THREAD_NEVER_ENDS:
		// This goroutine keeps its OS thread. So the new goroutine gets another one.
		go run(t)
		<-t.handle.Done()
		runtime.UnlockOSThread()
		return nil
	}
	defer t.end()
	t.core.Run(func(*pythread.Handle) {
		if t.run() && bool(C.runner_is_wanted(t.start.is_quick)) {
			t.next = newThread(C.struct_thread_start{is_quick: t.start.is_quick})
		}
	})
	return t.next
}

// run runs the function of t on the OS thread of the goroutine. It reports whether
// the OS thread goes on to other threads, with this goroutine or another.
func (t *thread) run() (isReusable bool) {
	hasLeft := false
	defer func() {
		if !hasLeft {
			// A Go function that the function called has panicked, or has called
			// runtime.Goexit. So the C frames are gone.
			C.thread_leave()
			runtime.UnlockOSThread()
			left.Add(1)
		}
	}()
	fate := C.thread_run(&t.start)
	hasLeft = true
	switch fate {
	case C.OS_THREAD_IS_REUSABLE:
		runtime.UnlockOSThread()
		left.Add(1)
		return true
	case C.OS_THREAD_ENDS_WATCHED:
		t.watchOSThread()
	}
	return false
}

// Go never ends its first OS thread. Init functions run on it.
func init() { C.thread_note_gos_first() }

// go_start_own starts a thread that has a pthread of its own. C makes the pthread
// next.
//
//export go_start_own
func go_start_own(joinable C.bool) C.PyThread_ident_t {
	t := newThread(C.struct_thread_start{state: C.START_IS_MADE, is_joinable: joinable})
	t.watchOSThread()
	return C.PyThread_ident_t(t.ident())
}

// go_cancel_own undoes go_start_own, because the pthread could not be made.
//
//export go_cancel_own
func go_cancel_own(ident C.PyThread_ident_t) {
	t := threads.get(pythread.Ident(ident))
	t.spend()
	t.endOSThread()
}

// watchOSThread makes joins wait until C reports that the OS thread has ended.
func (t *thread) watchOSThread() {
	t.running.Add(1)
	t.users.Add(1)
	watchEnds()
}

// endOSThread notes the end of the OS thread. It also ends a thread that ran on no
// goroutine.
func (t *thread) endOSThread() {
	if t.start._func == nil {
		t.core.Run(func(*pythread.Handle) {})
		t.end()
	}
	t.stop()
	t.leave()
}

// watchEnds starts the goroutine to which C reports the ends of OS threads.
var watchEnds = sync.OnceFunc(func() {
	go func() {
		for {
			C.own_wait_for_ends()
			takeEnds()
		}
	}()
})

// takeEnds learns which OS threads have ended.
func takeEnds() {
	for taken := C.own_take_ends(); taken != nil; {
		threads.get(pythread.Ident(C.own_pop_end(&taken))).endOSThread()
	}
}

// stop ends one of the things that a join of t waits for.
func (t *thread) stop() {
	if t.running.Add(-1) != 0 {
		return
	}
	if t.next != nil {
		t.next.start.ended = t.start.ident // C tells it
	} else {
		t.tellEnd()
	}
}

// tellEnd wakes the joins of t.
func (t *thread) tellEnd() {
	// This is ends_count, without a call of C where no join waits.
	count := &endCounts[t.key()%C.END_COUNTS]
	count.ends.Add(1)
	if count.joins.Load() != 0 {
		C.ends_wake(C.PyThread_ident_t(t.key()))
	}
}

// endCounts is end_counts of ends.h.
var endCounts = (*[C.END_COUNTS]struct {
	ends, joins atomic.Uint32
	_           [56]byte
})(unsafe.Pointer(&C.end_counts))

// isOver reports whether a join of t need not wait.
func (t *thread) isOver() bool {
	if t.given != 0 {
		return hasEnded(t.handle)
	}
	return t.running.Load() == 0
}

// go_begin_join joins a thread that has ended. It returns EAGAIN if the thread
// still runs. Then the caller waits in C and calls go_end_join, until that returns
// something else.
//
//export go_begin_join
func go_begin_join(handle C.PyThread_handle_t, joiner C.PyThread_ident_t) C.int {
	t, errno := find(handle)
	if errno != 0 {
		return errno
	}
	if !t.isOver() {
		takeEnds()
	}
	if !t.isOver() {
		if !t.beginJoin(pythread.Ident(joiner)) {
			return C.EDEADLK
		}
		if t.given != 0 {
			go func() {
				<-t.handle.Done()
				t.tellEnd()
			}()
		}
		return C.EAGAIN
	}
	t.spend()
	return 0
}

// go_end_join ends a join that has waited. It returns EAGAIN if the thread still
// runs.
//
//export go_end_join
func go_end_join(handle C.PyThread_handle_t, joiner C.PyThread_ident_t) C.int {
	// A thread that is no longer in the table has ended, and its handle is spent,
	// because another join came first.
	t := threads.get(pythread.Ident(handle))
	takeEnds() // always: see put in own_os_thread.c
	if t != nil && !t.isOver() {
		return C.EAGAIN
	}
	if joiner != 0 {
		joins.Lock()
		delete(joined, pythread.Ident(joiner))
		joins.Unlock()
	}
	if t != nil {
		t.spend()
	}
	return 0
}

// joined maps each thread that waits in a join to the thread for which it waits.
// joins guards it.
var (
	joins  sync.Mutex
	joined = map[pythread.Ident]pythread.Ident{}
)

// beginJoin notes that the joiner waits for t. It reports false if the wait would
// never end, because t is the joiner, or waits for the joiner, directly or through
// other threads. If several threads close such a ring at once, the last one sees the
// ring, because all check and note under one mutex.
func (t *thread) beginJoin(joiner pythread.Ident) bool {
	if joiner == 0 {
		return true
	}
	joins.Lock()
	defer joins.Unlock()
	for next := t.ident(); next != 0; next = joined[next] {
		if next == joiner {
			return false
		}
	}
	joined[joiner] = t.ident()
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
