package capi

// #include "lock.h"
import "C"

import (
	"sync/atomic"
	"unsafe"

	"github.com/seed-c0a0ef17/pythread/pythread"
)

// Lock is a lock of C's, a PyThread_type_lock, as a Go value: what Go code and
// C code guard by it, they guard from each other.
//
// It has the contract of [pythread.Lock]: a binary semaphore that any goroutine
// and any thread may release, not recursive, with no strict order among those
// that wait. What happens before a release happens before the return of the
// acquire that gets the lock next, on either side. All methods but Free are safe
// for concurrent use.
//
// An acquire or release that meets nobody costs what it costs in pure Go: one
// atomic instruction, and no call into C. One that has to wait waits in C, on an
// OS thread, where a [pythread.Lock] waits as a goroutine: for locks that C code
// has no part in, take that.
//
// A Lock may be copied; the copies are the same lock. The zero Lock is none, and
// must not be used.
type Lock struct{ word *atomic.Uint32 }

// NewLock makes a lock of C's, free. It lies in C memory, which [Lock.Free]
// gives back. NewLock panics where no memory is left.
//
// It is PyThread_allocate_lock.
func NewLock() Lock {
	lock := C.PyThread_allocate_lock()
	if lock == nil {
		panic("capi: out of memory")
	}
	return WrapLock(unsafe.Pointer(lock))
}

// WrapLock returns the lock that C code knows as a PyThread_type_lock, which it
// has made by PyThread_allocate_lock and may use on.
func WrapLock(lock unsafe.Pointer) Lock { return Lock{(*atomic.Uint32)(lock)} }

// Pointer returns the PyThread_type_lock, for C code to use.
func (l Lock) Pointer() unsafe.Pointer { return unsafe.Pointer(l.word) }

// Free gives the memory of the lock back, whether it is held or not. It must be
// the last use of the lock, on either side.
//
// It is PyThread_free_lock.
func (l Lock) Free() { C.PyThread_free_lock(l.c()) }

// Acquire waits, for ever if need be, until it has the lock.
//
// It is PyThread_acquire_lock with WAIT_LOCK.
func (l Lock) Acquire() {
	// Go's atomic operations are at least as strong as those of lock.c: what
	// the last holder did before its release happens before what the caller
	// does now.
	if !l.word.CompareAndSwap(C.FREE, C.HELD) {
		l.acquire(-1)
	}
	l.hold()
}

// hold is what an acquire does when it has the lock. It says that Go code holds
// it, for pythread_dump. No other write of the holder races with this one, which
// the lock itself guards.
func (l Lock) hold() {
	*(*C.PyThread_ident_t)(unsafe.Add(l.Pointer(), C.LOCK_HOLDER_OFFSET)) = 0
	l.acquired()
}

// acquire is AcquireTimed in C.
func (l Lock) acquire(us int64) pythread.LockStatus {
	return pythread.LockStatus(C.PyThread_acquire_lock_timed(l.c(), C.longlong(us), 0))
}

// TryAcquire takes the lock if it is free and reports whether it did. It does
// not wait.
//
// It is PyThread_acquire_lock with NOWAIT_LOCK.
func (l Lock) TryAcquire() bool { return l.AcquireTimed(0) == pythread.Acquired }

// AcquireTimed waits for the lock for at least us microseconds of the monotonic
// clock and returns [pythread.Acquired], or [pythread.Failure] if it was not
// free in that time. Zero tries without waiting, any negative us waits for ever,
// and more than [pythread.TimeoutMax] counts as TimeoutMax.
//
// It is PyThread_acquire_lock_timed with an intr_flag of 0.
func (l Lock) AcquireTimed(us int64) pythread.LockStatus {
	status := pythread.Acquired
	if !l.word.CompareAndSwap(C.FREE, C.HELD) {
		status = l.acquire(us)
	}
	if status == pythread.Acquired {
		l.hold()
	}
	return status
}

// Release frees the lock, whoever acquired it. It panics if the lock is free
// already, and then leaves it free. It does not block.
//
// It is PyThread_release_lock, which says so on stderr instead.
func (l Lock) Release() {
	l.released()
	if !l.word.CompareAndSwap(C.HELD, C.FREE) && !bool(C.lock_release(l.c())) {
		panic("capi: Release of a Lock that is free")
	}
}

func (l Lock) c() C.PyThread_type_lock { return C.PyThread_type_lock(l.word) }
