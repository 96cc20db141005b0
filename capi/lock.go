package capi

// #include "sync/lock.h"
import "C"

import (
	"sync/atomic"
	"unsafe"

	"github.com/seed-c0a0ef17/pythread/pythread"
)

// Lock is a lock of C code, a PyThread_type_lock, as a Go value. Go code and C code
// exclude each other by it.
//
// It has the contract of [pythread.Lock]: a binary semaphore that any goroutine
// and any thread may release, not recursive, with no strict order among waiters.
// What happens before a release happens before the return of the acquire that gets
// the lock next, in Go and in C. All methods except Free are safe for concurrent
// use.
//
// An acquire or release without contention costs the same as in pure Go: one
// atomic instruction, and no call of C. A wait happens in C and keeps an OS thread;
// a wait for a [pythread.Lock] keeps a goroutine. So use a pythread.Lock if C code
// does not use the lock.
//
// A Lock may be copied; the copies are the same lock. The zero Lock must not be
// used.
type Lock struct{ word *atomic.Uint32 }

// NewLock makes a new, free lock in C memory, which [Lock.Free] frees. NewLock
// panics if no memory is left.
//
// It is PyThread_allocate_lock.
func NewLock() Lock {
	lock := C.PyThread_allocate_lock()
	if lock == nil {
		panic("capi: out of memory")
	}
	return WrapLock(unsafe.Pointer(lock))
}

// WrapLock returns the lock for a PyThread_type_lock, which C code has made by
// PyThread_allocate_lock and may still use.
func WrapLock(lock unsafe.Pointer) Lock { return Lock{(*atomic.Uint32)(lock)} }

// Pointer returns the PyThread_type_lock, for C code to use.
func (l Lock) Pointer() unsafe.Pointer { return unsafe.Pointer(l.word) }

// Free frees the memory of the lock, held or not. It must be the last use of the
// lock in Go and in C.
//
// It is PyThread_free_lock.
func (l Lock) Free() { C.PyThread_free_lock(l.c()) }

// Acquire waits, without limit, until it has the lock.
//
// It is PyThread_acquire_lock with WAIT_LOCK.
func (l Lock) Acquire() {
	// Go's atomic operations are at least as strong as those of lock.c. So what
	// the last holder did before its release happens before what the caller
	// does now.
	if !l.word.CompareAndSwap(C.FREE, C.HELD) {
		l.acquire(-1)
	}
	l.hold()
}

// hold ends an acquire that has the lock. It notes for pythread_dump that Go code
// holds the lock. The lock guards the field holder, so no other write races with
// this one.
func (l Lock) hold() {
	*(*C.PyThread_ident_t)(unsafe.Add(l.Pointer(), C.LOCK_HOLDER_OFFSET)) = 0
	l.acquired()
}

// acquire is PyThread_acquire_lock_timed.
func (l Lock) acquire(us int64) pythread.LockStatus {
	return pythread.LockStatus(C.PyThread_acquire_lock_timed(l.c(), C.longlong(us), 0))
}

// TryAcquire takes the lock if it is free and reports whether it did. It does
// not wait.
//
// It is PyThread_acquire_lock with NOWAIT_LOCK.
func (l Lock) TryAcquire() bool { return l.AcquireTimed(0) == pythread.Acquired }

// AcquireTimed waits for the lock for at least us microseconds of the monotonic
// clock. It returns [pythread.Acquired], or [pythread.Failure] if the lock was not
// free in that time. Zero tries once, any negative us waits without limit, and more
// than [pythread.TimeoutMax] counts as TimeoutMax.
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

// Release releases the lock, which any goroutine or thread may have acquired. It
// panics if the lock is free, and leaves it free. It does not block.
//
// It is PyThread_release_lock, which writes a message instead of a panic.
func (l Lock) Release() {
	l.released()
	if !l.word.CompareAndSwap(C.HELD, C.FREE) && !bool(C.lock_release(l.c())) {
		panic("capi: Release of a Lock that is free")
	}
}

func (l Lock) c() C.PyThread_type_lock { return C.PyThread_type_lock(l.word) }
