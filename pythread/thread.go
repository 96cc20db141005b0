package pythread

import (
	"strconv"
	"sync"
	"sync/atomic"
)

// Ident names a thread for the life of the process. The first thread gets 1, and
// every later thread the next number. No number is used twice, and zero is never
// the ident of a thread.
//
// It stands for CPython's PyThread_ident_t (3.13). In CPython a new thread may
// get the ident of one that has ended.
type Ident uint64

// idents counts the threads started so far. All idents come from here, so an
// atomic add keeps them unique. No other memory is published through idents.
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

// SetStacksize would set the stack size in bytes of later threads. It changes
// nothing and always returns -2, as CPython does on a platform where the size
// cannot be set.
//
// It mirrors PyThread_set_stacksize.
func SetStacksize(int) int { return -2 }

// Handle is one started thread. A caller uses it to wait for the thread's end,
// to learn how the thread ended, and to keep values with the thread (see
// [TSS]).
//
// [Start] and [StartWith] make handles; the zero Handle is not a thread and
// must not be used. All methods may be called from any goroutine, any number
// of times, before and after the thread has ended. There is nothing to free
// and nothing to detach: the garbage collector frees a handle that the program no
// longer keeps, and the thread runs on without it.
//
// The end of a thread is one event, whichever way a caller learns of it: Join has
// returned, Done is closed, [TSS.Get] no longer gives the thread's values, or
// [TSS.Set] has refused one. As soon as one of these holds, all of them do.
//
// It stands for CPython's PyThread_handle_t (3.13), which may be joined or
// detached only once.
type Handle struct {
	ident Ident

	// How a thread ends. Whether a thread has ended is written in one place,
	// the field done:
	//
	//	nil                            the thread runs, Done was not called
	//	a pointer to an open channel   the thread runs
	//	a pointer to a closed channel  the thread has ended
	//
	// The thread gets to the last line in one step, which finish takes once: it
	// replaces nil by over, or closes the channel that is there. Then it replaces
	// a closed channel by over too. No step leads back. The invariant: all that a
	// caller can learn about the end follows from done alone.
	//
	//	Done      returns the channel itself, and over where there was none.
	//	Join      returns at once if done says ended. Otherwise it sleeps on
	//	          joiners, which finish wakes after the step.
	//	TSS.Get   gives no value if done says ended.
	//	TSS.Set   does nothing if done says ended.
	//
	// So the end is visible everywhere at the same instant. Proof: before the
	// step, done says that the thread runs. Then the channel is open, Join
	// waits, Set stores, and Get finds what was set, because finish erases
	// nothing before the step. After the step, done says ended for ever, and
	// each of the four gives the answer of an ended thread. Hence a caller that
	// has had one such answer comes after the step, and gets the other three.
	//
	// A caller cannot see what finish does after the step: finish wakes joiners
	// that slept through the step, and erases values that Get no longer shows, to
	// free their memory. Before the step finish publishes the panic value, which
	// is read only after the step.
	//
	// Memory order: the step is an atomic operation or the close of a channel.
	// The method ended sees it by an atomic load or by a receive. Either way what
	// the thread did happens before what the caller does next.
	done atomic.Pointer[chan struct{}]

	// Join sleeps on joiners, which has joinLock as its Locker. A channel would be
	// one more allocation, so only Done makes one. A sync.WaitGroup takes longer
	// to sleep on and to wake.
	joiners sync.Cond

	// record has the data that few threads need, so that the others stay small.
	// It is nil until there is something to record.
	record atomic.Pointer[record]
}

// record has the panic value, the name and the TSS keys of a thread that has any.
type record struct {
	panicked any // the panic value: written before the step, read after it

	name atomic.Pointer[string]

	mu   sync.Mutex          // guards keys
	keys map[eraser]struct{} // the TSS keys that hold a value for the thread
}

// needRecord returns the thread's record, and makes one if there is none.
func (h *Handle) needRecord() *record {
	if h.record.Load() == nil {
		// If several goroutines do this at once, one record wins. All must use
		// that record, hence the Load below.
		h.record.CompareAndSwap(nil, new(record))
	}
	return h.record.Load()
}

// over is the closed channel of all threads that had no channel when they ended.
var over = func() *chan struct{} {
	done := make(chan struct{})
	close(done)
	return &done
}()

// Start runs fn as a new thread, on a goroutine of its own, and returns the
// thread's handle without waiting for the thread: fn may have begun, or even
// returned, before Start returns. What the caller did before Start happens
// before fn begins. Start panics if fn is nil. It never blocks and may be
// called from any goroutine.
//
// A panic in fn ends the thread, not the process, and [Handle.Join] returns
// the panic's value; runtime.Goexit in fn ends the thread as a return does.
//
// It mirrors PyThread_start_joinable_thread (3.13) and, if the caller drops the
// handle, PyThread_start_new_thread. Those can fail; Start cannot.
func Start(fn func()) *Handle {
	if fn == nil {
		panic("pythread: Start of a nil function")
	}
	return startThread(func(*Handle) { fn() })
}

// StartWith is [Start] for a function that needs its own handle: to use a
// [TSS], or to know its ident.
//
// It mirrors the same functions as [Start]. In CPython a thread gets its ident
// from PyThread_get_thread_ident; a goroutine has no such function.
func StartWith(fn func(*Handle)) *Handle {
	if fn == nil {
		panic("pythread: StartWith of a nil function")
	}
	return startThread(fn)
}

func startThread(fn func(*Handle)) *Handle {
	h := newHandle()
	if isSeen() {
		go h.runSeen(fn)
	} else {
		go h.run(fn)
	}
	return h
}

// Prepared is a thread that has its handle before it runs. It is for a caller
// that has a goroutine for the thread: one that exists already, or one that runs
// several threads, one after another. [Start] is for all other cases.
//
// [Prepare] makes a Prepared; the zero Prepared must not be used. If Run is never
// called for a Prepared, its thread never ends.
type Prepared struct {
	handle Handle
	begun  atomic.Bool // Run has been called
}

// Prepare returns a new thread that does not run yet. It never blocks and may be
// called from any goroutine.
//
// It mirrors the first half of PyThread_start_joinable_thread (3.13), which makes
// the handle before the operating system starts the thread.
func Prepare() *Prepared {
	p := new(Prepared)
	p.handle.prepare()
	return p
}

// Handle returns the thread's handle, the same one each time. It never blocks and
// may be called from any goroutine, before Run and after it.
func (p *Prepared) Handle() *Handle { return &p.handle }

// Run runs fn as the thread, on the calling goroutine, and returns when the
// thread has ended. The goroutine may then run another Prepared. A panic in fn
// ends only the thread, as in [Start]. A runtime.Goexit in fn ends the thread
// and then the goroutine: Run does not return.
//
// What happens before Run happens before fn begins. Run panics if it was called
// before for this thread, or if fn is nil.
func (p *Prepared) Run(fn func(*Handle)) {
	if fn == nil {
		panic("pythread: Run of a nil function")
	}
	if p.begun.Swap(true) {
		panic("pythread: Run of a thread that was run before")
	}
	if isSeen() {
		p.handle.runSeen(fn)
	} else {
		p.handle.run(fn)
	}
}

func newHandle() *Handle {
	h := new(Handle)
	h.prepare()
	return h
}

// prepare makes h a new thread, which does not run yet.
func (h *Handle) prepare() {
	h.ident = Ident(idents.Add(1))
	h.joiners.L = (*joinLock)(h)
	if list := dumping.Load(); list != nil {
		list.add(h)
	}
}

// run runs fn as the thread, from beginning to end.
func (h *Handle) run(fn func(*Handle)) {
	defer h.finish()
	fn(h)
}

// finish ends the thread. The goroutine has to defer finish itself: only a
// deferred call runs when the goroutine calls Goexit, and recover sees a panic
// only if the deferred function itself calls recover.
func (h *Handle) finish() {
	if value := recover(); value != nil {
		h.publish(value)
	}
	h.end()
	h.joiners.Broadcast()
	h.erase()
}

// publish records the panic value, which Join returns after the step.
func (h *Handle) publish(value any) { h.needRecord().panicked = value }

// end takes the step that ends the thread.
func (h *Handle) end() {
	// The swap fails if Done has put a channel there. No other channel replaces
	// that one.
	if !h.done.CompareAndSwap(nil, over) {
		done := h.done.Load()
		close(*done)
		// With this store the step has its place in the one order of all atomic
		// operations. Set and joinLock rely on that order. And the handle no
		// longer has the channel, which may belong to a bubble: an ended thread
		// may be used in all bubbles.
		h.done.Store(over)
	}
}

// ended reports whether the thread has ended.
func (h *Handle) ended() bool {
	done := h.done.Load()
	switch done {
	case nil:
		return false
	case over:
		return true
	}
	select {
	case <-*done:
		return true
	default:
		return false
	}
}

// joinLock is a handle as the Locker of its joiners. It locks nothing. It exists
// because Cond.Wait calls Unlock at the right moment: from then on every
// Broadcast wakes the joiner. So no joiner sleeps for ever. If the step comes
// after Unlock has read done, then finish calls Broadcast even later, and wakes
// the joiner. If the step came before, Unlock sees it, and calls Broadcast.
type joinLock Handle

func (l *joinLock) Lock() {}

func (l *joinLock) Unlock() {
	if (*Handle)(l).ended() {
		l.joiners.Broadcast()
	}
}

// erase removes the values that an ended thread has left in its keys. Set
// explains why none is stored afterwards.
func (h *Handle) erase() {
	if r := h.record.Load(); r != nil {
		r.erase(h)
	}
}

func (r *record) erase(h *Handle) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for t := range r.keys {
		t.erase(h)
	}
	r.keys = nil
}

// Ident returns the thread's ident. It never blocks.
//
// It mirrors the ident that PyThread_start_joinable_thread stores and that
// PyThread_get_thread_ident_ex (3.13) returns inside the thread.
func (h *Handle) Ident() Ident { return h.ident }

// SetName names the thread, for [Handle.Name] and [Handle.String]. Any goroutine
// may call it, at any time; the last name counts. It never blocks.
//
// It stands for Python's _thread.set_name (3.14), but does not name an OS thread,
// because a goroutine has none of its own. A thread that C code started may name
// itself in C, and has that name here too.
func (h *Handle) SetName(name string) { h.needRecord().name.Store(&name) }

// Name returns the thread's name, or "" if it has none. It never blocks.
//
// CPython has no counterpart.
func (h *Handle) Name() string {
	if r := h.record.Load(); r != nil {
		if name := r.name.Load(); name != nil {
			return *name
		}
	}
	return ""
}

// String describes the thread for a log, by its ident and, quoted, its name if it
// has one:
//
//	thread 7 "reader"
//
// It never blocks.
//
// CPython has no counterpart.
func (h *Handle) String() string {
	s := "thread " + strconv.FormatUint(uint64(h.ident), 10)
	if name := h.Name(); name != "" {
		s += " " + strconv.Quote(name)
	}
	return s
}

// Join waits until the thread has ended, without limit, and returns the
// value that the thread panicked with: nil if it returned or called
// runtime.Goexit, a *runtime.PanicNilError if it called panic(nil). Every Join
// of a thread, from any goroutine, returns the same value, and everything that
// the thread did happens before Join returns. A thread that joins itself waits
// for ever.
//
// It mirrors PyThread_join_thread (3.13), which allows one join only.
func (h *Handle) Join() any {
	for !h.ended() {
		h.joiners.Wait()
	}
	if r := h.record.Load(); r != nil {
		return r.panicked
	}
	return nil
}

// Done returns a channel that is closed when the thread ends, for use in a
// select. After a receive from the channel [Handle.Join] does not block, and
// once Join has returned, the channel is closed. Done never blocks. While the
// thread runs, every call returns the same channel; it is made by the first call,
// and belongs to the bubble of [testing/synctest] in which that call is.
//
// CPython has no counterpart.
func (h *Handle) Done() <-chan struct{} {
	if h.done.Load() == nil {
		done := make(chan struct{})
		h.done.CompareAndSwap(nil, &done)
	}
	return *h.done.Load()
}
