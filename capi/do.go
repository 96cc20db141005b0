package capi

// #include "do.h"
// #include "status.h"
import "C"

import (
	"runtime"
	"sync"

	"github.com/seed-c0a0ef17/pythread/pythread"
)

// Do calls fn on the calling goroutine and returns when fn has. To all C code
// that fn calls, the caller is the thread h: PyThread_get_thread_ident is its
// ident, thread-specific storage holds its values, and a PyThread_join_thread
// that would have h wait for itself, at once or around others, gets EDEADLK.
//
// Any goroutine may call Do for any thread: usually it is the thread itself,
// but it need not be. A value that fn's C code stores is there in every later
// Do of the same thread, on whichever OS thread it runs, and goes when the
// thread ends. On the OS thread nothing stays behind: when Do returns, C code
// there is what it was before Do, even if fn has panicked or has called
// [runtime.Goexit]. For the length of fn the goroutine is locked to its OS
// thread.
//
// Do may be nested for different threads. A Do of the thread that the caller is
// already, as in a callback of a thread that C started, just calls fn.
//
// A thread can only be in one place: Do panics where h is in another Do, of
// another goroutine or further out, and where h is a thread of C's that is
// running. It panics as well where h is nil, is the zero Handle or has ended,
// and where fn is nil. Nothing has happened then.
//
// PyThread_exit_thread, called by C code in fn, is a runtime.Goexit: it ends the
// goroutine that called Do, past the C code's frames. A direct pthread_exit
// would end an OS thread of the Go runtime, and must not be called.
func Do(h *pythread.Handle, fn func()) {
	if h == nil || h.Ident() == 0 {
		panic("capi: Do of no thread")
	}
	if fn == nil {
		panic("capi: Do of a nil function")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if g := admit(h); g != nil {
		C.do_exchange(&g.identity)
		defer g.leave()
	}
	fn()
}

// guest is a thread that runs, or has run, C code in Do, on OS threads that are
// not its own. It is in guests while it is in Do or has values in C's storage.
type guest struct {
	handle *pythread.Handle

	mu      sync.Mutex
	inDo    bool
	watched bool // a goroutine waits for the thread's end
	gone    bool // it is not in guests any more

	// identity is what C code takes the caller of Do for: outside of Do the
	// thread's own, in Do what the OS thread had before. Guarded by mu outside
	// of Do, and Do's own inside.
	identity C.struct_do_identity
}

// guests are all guests.
var guests sync.Map // of pythread.Ident to *guest

// admit returns the guest that h is from now on, or nil where the caller is h
// already.
func admit(h *pythread.Handle) *guest {
	ident := h.Ident()
	for {
		t := threads.get(ident)
		isRunning := t != nil && !t.ended.Load()
		if !isRunning {
			if hasEnded(h) {
				panic("capi: Do of a thread that has ended")
			}
			found, ok := guests.Load(ident)
			if !ok {
				made := &guest{handle: h}
				made.identity.ident = C.PyThread_ident_t(ident)
				made.identity.in_do = true
				found, _ = guests.LoadOrStore(ident, made)
			}
			g := found.(*guest)
			g.mu.Lock()
			gone, inDo := g.gone, g.inDo
			g.inDo = inDo || !gone
			g.mu.Unlock()
			if gone {
				continue
			}
			if !inDo {
				return g
			}
		}
		if pythread.Ident(C.status_current()) == ident {
			return nil
		}
		panic("capi: Do of a thread that runs elsewhere")
	}
}

// leave ends the guest's Do.
func (g *guest) leave() {
	C.do_exchange(&g.identity)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inDo = false
	hasValues := g.identity.values != C.struct_tss_values{}
	switch {
	case hasEnded(g.handle):
		g.remove()
	case g.watched:
	case hasValues:
		g.watched = true
		go g.watch()
	default:
		g.remove()
	}
}

// watch removes the guest when its thread has ended.
func (g *guest) watch() {
	<-g.handle.Done()
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.inDo { // else leave does it
		g.remove()
	}
}

// remove forgets the guest, with its values. The caller has mu.
func (g *guest) remove() {
	if !g.gone {
		g.gone = true
		C.tss_drop(&g.identity.values)
		guests.Delete(g.handle.Ident())
	}
}

func hasEnded(h *pythread.Handle) bool {
	select {
	case <-h.Done():
		return true
	default:
		return false
	}
}

// go_exit_thread is PyThread_exit_thread in a Do.
//
//export go_exit_thread
func go_exit_thread() { runtime.Goexit() }
