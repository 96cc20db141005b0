package capi

// #include "thread/do.h"
// #include "sync/identity.h"
import "C"

import (
	"runtime"
	"sync"

	"github.com/seed-c0a0ef17/pythread/pythread"
)

// Do calls fn on the calling goroutine and returns when fn returns. For C code
// that fn calls, the caller is the thread h: PyThread_get_thread_ident returns its
// ident, and thread-specific storage has its values. PyThread_join_thread returns
// EDEADLK if h would wait for itself, directly or through other threads.
//
// Any goroutine may call Do for any thread; usually the thread itself does. A
// value that C code in fn stores lasts until the thread ends: every later Do of
// the thread finds it, on any OS thread. Nothing remains on the OS thread: when
// Do returns, C code on it has its identity from before Do, even if fn has
// panicked or has called [runtime.Goexit]. While fn runs, the goroutine is locked
// to its OS thread.
//
// Do may be nested for different threads. If the caller is the thread h already,
// as in a callback of a thread that C started, Do just calls fn.
//
// A thread can only be in one place. So Do panics if h is in another Do, and if h
// is a running thread that C started. It also panics if h is nil, is the zero
// Handle or has ended, and if fn is nil. It panics before it changes anything.
//
// If C code in fn calls PyThread_exit_thread, that is a runtime.Goexit: it ends
// the goroutine that called Do, past the frames of the C code, also from the stack
// of a coroutine. C code must not call pthread_exit, which would end an OS thread
// of the Go runtime.
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

// guest is a thread that runs, or has run, C code in Do, on OS threads of others.
// It is in guests while it is in Do or has values in thread-specific storage.
type guest struct {
	handle *pythread.Handle

	mu      sync.Mutex
	inDo    bool
	watched bool // a goroutine waits for the thread's end
	gone    bool // it is no longer in guests

	// identity is the thread's identity for C code outside of Do. In Do it is the
	// identity that the OS thread had before. mu guards it outside of Do; in Do,
	// only the goroutine that called Do uses it.
	identity C.struct_do_identity
}

// guests has every guest.
var guests sync.Map // of pythread.Ident to *guest

// admit makes h a guest and returns the guest. It returns nil if the caller is h
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
		if pythread.Ident(C.identity_self()) == ident {
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
	g.identity.sections = 0 // the frame of a section that has not ended is gone
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
	if !g.inDo { // else leave removes the guest
		g.remove()
	}
}

// remove removes the guest and its values. The caller has mu.
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
