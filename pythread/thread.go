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

	// How a thread ends. Whether a thread has ended is written in one place,
	// the field done:
	//
	//	nil                           the thread runs, and nobody has called Done
	//	a pointer to an open channel  the thread runs
	//	a pointer to a closed channel the thread has ended
	//
	// The last line is reached in one step, which finish takes once: it sets
	// nil to over or, where there is a channel, closes that. Nothing leads
	// back. The invariant: all that a caller can learn about the end follows
	// from done alone.
	//
	//	Done      returns the channel itself, and over where there was none.
	//	Join      returns at once if done says ended. Else it waits for
	//	          joiners, which finish releases after the step.
	//	TSS.Get   gives no value if done says ended.
	//	TSS.Set   does nothing if done says ended.
	//
	// So the end is visible everywhere at the same instant. Proof: before the
	// step done says that the thread runs. Then the channel is open, Join
	// waits, Set stores, and Get finds what was set, because finish erases
	// nothing before the step. After the step done says ended for ever, and
	// each of the four gives the answer of an ended thread. Hence a caller who
	// has had one such answer comes after the step, and gets the other three.
	//
	// What finish does after the step nobody can tell from outside: it wakes
	// joiners that slept through the step, and erases values that Get has
	// stopped showing, to free their memory. What it does before the step,
	// publishing the panic value, nobody reads before the step.
	//
	// Memory order: the step is an atomic operation or the close of a channel,
	// and ended sees it by an atomic load or by a receive. Either way what the
	// thread did comes before what the caller does next.
	done atomic.Pointer[chan struct{}]

	// joiners is where Join sleeps, with joinLock as its Locker. A channel would
	// be an allocation more, so there is one only where Done is called; and a
	// sync.WaitGroup takes longer to sleep on and to wake.
	joiners sync.Cond

	// record holds what few threads have, so that the others stay small. It is
	// nil until there is something to record.
	record atomic.Pointer[record]
}

// record is what a thread has if it panicked or has had a TSS value.
type record struct {
	panicked any // the panic value: written before the step, read after it

	mu   sync.Mutex          // guards keys
	keys map[eraser]struct{} // the TSS keys that hold a value for the thread
}

// unremarkable is the record of the threads that ended without one.
var unremarkable = new(record)

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
	h.joiners.L = (*joinLock)(h)
	return h
}

// finish ends the thread. The goroutine has to defer finish itself: only a
// deferred call runs on Goexit, for which recover is nil, and recover sees a
// panic only if the deferred function calls it directly.
func (h *Handle) finish() {
	if value := recover(); value != nil {
		h.publish(value)
	}
	h.end()
	h.joiners.Broadcast()
	h.erase()
}

// publish records the panic value, for Join to return after the step.
func (h *Handle) publish(value any) {
	if !h.record.CompareAndSwap(nil, &record{panicked: value}) {
		h.record.Load().panicked = value
	}
}

// end takes the step: the thread has ended when end returns, and runs until
// then.
func (h *Handle) end() {
	// If this fails, then Done has put a channel there, which stays.
	if !h.done.CompareAndSwap(nil, over) {
		close(*h.done.Load())
	}
}

// ended reports whether the thread has ended.
func (h *Handle) ended() bool {
	done := h.done.Load()
	if done == nil {
		return false
	}
	select {
	case <-*done:
		return true
	default:
		return false
	}
}

// joinLock is the Locker of its handle's joiners. It locks nothing. It is there
// because Cond.Wait calls Unlock at the right moment: when the joiner is sure
// to be woken by every later Broadcast. No joiner sleeps for ever: if the step
// comes after Unlock has looked at done, then finish's Broadcast comes later
// still, and wakes the joiner; and if the step came before, Unlock sees it, and
// calls Broadcast itself.
type joinLock Handle

func (l *joinLock) Lock() {}

func (l *joinLock) Unlock() {
	if (*Handle)(l).ended() {
		l.joiners.Broadcast()
	}
}

// erase frees the values that an ended thread has left. No later Set stores
// another: see there.
func (h *Handle) erase() {
	if h.record.CompareAndSwap(nil, unremarkable) {
		return
	}
	r := h.record.Load()
	r.mu.Lock()
	for t := range r.keys {
		t.erase(h)
	}
	r.keys = nil
	r.mu.Unlock()
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
	for !h.ended() {
		h.joiners.Wait()
	}
	if r := h.record.Load(); r != nil {
		return r.panicked
	}
	return nil // the thread has ended, but erase has not come to the record yet
}

// Done returns a channel that is closed when the thread ends, for use in a
// select: after a receive from it [Handle.Join] does not block, and once Join
// has returned it is closed. Every call returns the same channel.
//
// CPython has no counterpart.
func (h *Handle) Done() <-chan struct{} {
	if h.done.Load() == nil {
		done := make(chan struct{})
		h.done.CompareAndSwap(nil, &done)
	}
	return *h.done.Load()
}
