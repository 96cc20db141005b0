package capi

// #include "pythread.h"
import "C"

import (
	"errors"
	"math/bits"
	"sync/atomic"

	"github.com/seed-c0a0ef17/pythread/pythread"
)

// ErrNoThread is the error of [ToHandle] for a handle that is nil or zero.
var ErrNoThread = errors.New("capi: a Handle of no thread")

// FromHandle returns the thread that a C handle, a PyThread_handle_t, stands
// for, so that Go can join a thread that C started or select on its end. It
// reports false where the handle is spent, because C has joined or detached the
// thread, or never was one. It does not block and is safe for concurrent use.
//
// The C handle stays as it is: joining the thread in Go does not spend it, and
// C still has to join or detach the thread once. A join in C also waits for the
// destructors of an OS thread that ends with the thread; one in Go does not.
func FromHandle(handle uintptr) (*pythread.Handle, bool) {
	t, errno := find(C.PyThread_handle_t(handle))
	if errno != 0 {
		return nil, false
	}
	return t.handle, true
}

// FromIdent returns the thread with an ident that C code was told or has asked
// for. It knows every thread that C started, joinable or detached, from its
// start until it has ended and its C handle is spent; and every thread that C
// code runs as in [Do]. For any other ident, also that of an OS thread which is
// no PyThread, it reports false. It does not block and is safe for concurrent
// use.
func FromIdent(ident pythread.Ident) (*pythread.Handle, bool) {
	if t := threads.get(ident); t != nil && t.given == 0 {
		return t.handle, true
	}
	if g, ok := guests.Load(ident); ok {
		return g.(*guest).handle, true
	}
	return nil, false
}

// ToHandle returns a C handle, a PyThread_handle_t, for a thread of Go's: the
// right to join or detach it once, for C code to have. Each call makes another
// handle, different from all there have been, and each is good for one
// successful PyThread_join_thread or PyThread_detach_thread, before or after
// the end of the thread. Only that frees what is kept for it, some 150 bytes.
// The error is [ErrNoThread] where h is nil or the zero Handle. ToHandle does
// not block and is safe for concurrent use.
//
// A join in C is a [pythread.Handle.Join] whose value nobody sees: a thread of
// Go's that panicked has just ended, as far as C is concerned. It returns EDEADLK
// where the thread itself makes it, in [Do], or where the thread waits in C to
// join the caller.
func ToHandle(h *pythread.Handle) (uintptr, error) {
	if h == nil || h.Ident() == 0 {
		return 0, ErrNoThread
	}
	t := &thread{handle: h, given: givenBit + pythread.Ident(lastGiven.Add(1))}
	t.users.Store(1)    // the C handle alone
	t.ended.Store(true) // C did not start it, and does not count it
	threads.add(t.given, t)
	return uintptr(t.given), nil
}

// Handles that ToHandle makes have the upper bit, which no ident comes up to,
// and are counted below it.
const givenBit = 1 << (bits.UintSize - 1)

var lastGiven atomic.Uint64

// wasGiven reports whether ToHandle has made this handle.
func wasGiven(handle C.PyThread_handle_t) bool {
	return handle&givenBit != 0 && uint64(handle&^givenBit) <= lastGiven.Load() && handle != givenBit
}
