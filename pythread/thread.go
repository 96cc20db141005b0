package pythread

import (
	"sync"
	"sync/atomic"
)

// Ident names a thread for the life of the process. The first thread gets 1,
// every later one the next number, and no number is ever given twice; zero is
// never a thread.
//
// It stands for CPython's PyThread_ident_t (3.13), whose values, unlike these,
// may come back once a thread has ended.
type Ident uint64

// idents counts the threads started so far. It is the process's only source
// of idents, so an atomic add is all it takes to keep them unique: no other
// memory is published through it.
var idents atomic.Uint64

// Init does nothing: there is no state to set up before the first thread. It
// never blocks and may be called any number of times, from any goroutine.
//
// It mirrors PyThread_init_thread.
func Init() {}

// GetStacksize returns the stack size in bytes that new threads get, where 0
// means the default. It is always 0: goroutine stacks grow as they are needed.
//
// It mirrors PyThread_get_stacksize.
func GetStacksize() int { return 0 }

// SetStacksize would set the stack size in bytes of threads started later. It
// changes nothing and returns -2, CPython's answer where the platform cannot
// do it, whatever the size.
//
// It mirrors PyThread_set_stacksize.
func SetStacksize(int) int { return -2 }

// Handle is one started thread: the means to wait for its end, to learn how
// it ended, and to keep values with it (see [TSS]).
//
// [Start] and [StartWith] make handles; the zero Handle is not a thread and
// must not be used. All methods may be called from any goroutine, any number
// of times, before and after the thread has ended. There is nothing to free
// and nothing to detach: a handle that nobody keeps is garbage, and the
// thread runs on without it.
//
// It stands for CPython's PyThread_handle_t (3.13), which may be joined or
// detached only once.
type Handle struct {
	ident Ident

	// ended is what joins wait for: its Done comes after all that the thread
	// did and before the return of every Wait. A channel for that would be
	// an allocation more, so there is one only where [Handle.Done] is called.
	ended sync.WaitGroup
	done  atomic.Pointer[chan struct{}]

	// more is for what few threads have, so that the others stay small: nil
	// at first, the thread's TSS keys if it uses any, and from its end on
	// how it ended, which is unremarkable or a panic.
	more atomic.Pointer[more]
}

type more struct {
	mu   sync.Mutex          // guards keys
	keys map[eraser]struct{} // the TSS keys with a value for the thread; nil once it has ended

	panicked any // what the thread panicked with; never written again
}

// unremarkable is how most threads end. Having no map, it refuses TSS values,
// as every end does.
var unremarkable = new(more)

// over is the channel of the threads that had none when they ended.
var over = func() *chan struct{} {
	done := make(chan struct{})
	close(done)
	return &done
}()

// Start runs fn as a new thread, on a goroutine of its own, and returns the
// thread's handle without waiting for it; fn may be running, or over, before
// Start returns. What the caller did before Start, fn sees. A nil fn panics
// in the caller. Start may be called from any goroutine.
//
// A panic in fn ends the thread, not the process, and [Handle.Join] returns
// its value; runtime.Goexit in fn ends the thread as a return does.
//
// It mirrors PyThread_start_joinable_thread (3.13) and, where the handle is
// dropped, PyThread_start_new_thread. It cannot fail as those can.
func Start(fn func()) *Handle {
	if fn == nil {
		panic("pythread: Start of a nil function")
	}
	h := newHandle()
	go func() {
		defer h.finish()
		fn()
	}()
	return h
}

// StartWith is [Start] for a function that wants its own handle, as every
// user of [TSS] does.
func StartWith(fn func(*Handle)) *Handle {
	if fn == nil {
		panic("pythread: StartWith of a nil function")
	}
	h := newHandle()
	go func() {
		defer h.finish()
		fn(h)
	}()
	return h
}

func newHandle() *Handle {
	h := &Handle{ident: Ident(idents.Add(1))}
	h.ended.Add(1)
	return h
}

// finish completes the thread. It has to be the goroutine's deferred call
// itself: only a deferred call runs on Goexit, for which recover is nil, and
// only directly in one does recover see a panic.
func (h *Handle) finish() {
	end := unremarkable
	if value := recover(); value != nil {
		end = &more{panicked: value}
	}
	// The Swap decides between the end and the thread's first Set: one that
	// comes later finds the end, one that came earlier has left its keys.
	if m := h.more.Swap(end); m != nil {
		m.eraseAll(h)
	}
	h.ended.Done() // now that a joiner finds no value left
	// The first pointer there stays: it is over, or that of a Done before.
	if !h.done.CompareAndSwap(nil, over) {
		close(*h.done.Load())
	}
}

// Ident returns the thread's ident. It never blocks.
//
// It mirrors the ident that PyThread_start_joinable_thread stores and that
// PyThread_get_thread_ident_ex (3.13) returns inside the thread.
func (h *Handle) Ident() Ident { return h.ident }

// Join waits until the thread has ended, for ever if need be, and returns the
// value that it panicked with: nil if it returned or called runtime.Goexit, a
// *runtime.PanicNilError if it called panic(nil). Every Join of a thread, from
// any goroutine, returns the same value, and everything the thread did happens
// before Join returns. A thread that joins itself waits for ever.
//
// It mirrors PyThread_join_thread (3.13), which allows one join only.
func (h *Handle) Join() any {
	h.ended.Wait()
	return h.more.Load().panicked
}

// Done returns a channel that is closed when the thread has ended, for use in
// a select: after a receive from it [Handle.Join] does not block. Every call
// returns the same channel.
//
// CPython has no counterpart.
func (h *Handle) Done() <-chan struct{} {
	if h.done.Load() == nil {
		done := make(chan struct{})
		h.done.CompareAndSwap(nil, &done)
	}
	return *h.done.Load()
}
