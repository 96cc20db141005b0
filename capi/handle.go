package capi

// #include "pythread.h"
// #include "thread/trampoline.h"
import "C"

import (
	"errors"
	"math/bits"
	"sync/atomic"

	"github.com/seed-c0a0ef17/pythread/pythread"
)

// ErrNoThread is the error of [ToHandle] for a handle that is nil or zero.
var ErrNoThread = errors.New("capi: a Handle of no thread")

// FromHandle returns the thread of a C handle, a PyThread_handle_t, so that Go can
// join a thread that C started, or select on its end. It reports false if C has
// joined or detached the thread, and if handle never was a handle. It does not
// block and is safe for concurrent use.
//
// The C handle stays valid: a join in Go does not use it up, and C still has to
// join or detach the thread once. A join in C also waits for the destructors of
// an OS thread that ends with the thread; a join in Go does not.
func FromHandle(handle uintptr) (*pythread.Handle, bool) {
	t, errno := find(C.PyThread_handle_t(handle))
	if errno != 0 {
		return nil, false
	}
	return t.handle, true
}

// FromIdent returns the thread with an ident, as C code knows it. It finds every
// thread that C started, from its start until it has ended and C has joined or
// detached it. It also finds every thread that is in [Do]. For any other ident it
// reports false, also for the pthread_self() of an OS thread. It does not block
// and is safe for concurrent use.
func FromIdent(ident pythread.Ident) (*pythread.Handle, bool) {
	if t := threads.get(ident); t != nil && t.given == 0 && t.isStarted() {
		return t.handle, true
	}
	if g, ok := guests.Load(ident); ok {
		return g.(*guest).handle, true
	}
	return nil, false
}

// ToHandle returns a new C handle, a PyThread_handle_t, for a thread that Go
// started: the right of C code to join or detach it once. Each handle is good for
// one successful PyThread_join_thread or PyThread_detach_thread, before or after
// the end of the thread. Until then it takes about 150 bytes. The error is
// [ErrNoThread] if h is nil or the zero Handle. ToHandle does not block and is
// safe for concurrent use.
//
// A join in C is a [pythread.Handle.Join] without the value: for C code, a thread
// that panicked has just ended. The join returns EDEADLK if the thread itself
// makes it, in [Do], or if the thread waits in C to join the caller.
func ToHandle(h *pythread.Handle) (uintptr, error) {
	if h == nil || h.Ident() == 0 {
		return 0, ErrNoThread
	}
	t := &thread{handle: h, given: givenBit + pythread.Ident(lastGiven.Add(1))}
	t.start = C.struct_thread_start{state: C.START_IS_MADE, is_joinable: true}
	t.users.Store(1)    // the C handle
	t.ended.Store(true) // C did not start the thread, and does not count it
	threads.add(t.given, t)
	return uintptr(t.given), nil
}

// The handles of ToHandle have the highest bit, which idents never have. The bits
// below count them.
const givenBit = 1 << (bits.UintSize - 1)

var lastGiven atomic.Uint64

// wasGiven reports whether ToHandle has returned this handle.
func wasGiven(handle C.PyThread_handle_t) bool {
	return handle&givenBit != 0 && uint64(handle&^givenBit) <= lastGiven.Load() && handle != givenBit
}
