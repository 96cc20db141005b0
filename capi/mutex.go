package capi

// #include "sync/mutex.h"
// #include <stdlib.h>
import "C"

import (
	"context"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"github.com/seed-c0a0ef17/pythread/internal/octet"
	"github.com/seed-c0a0ef17/pythread/pythread"
)

// Mutex is a mutex of C code, a PyMutex, as a Go value. Go code and C code exclude
// each other by it.
//
// It has the contract of [pythread.Mutex]: a lock of one byte that any goroutine and
// any thread may unlock, not recursive. What happens before an unlock happens before
// the return of the next lock, in Go and in C. Goroutines and threads wait in one
// queue. All methods are safe for concurrent use.
//
// A lock or an unlock without contention does not call C. A goroutine that waits does
// not occupy an OS thread. All waits of the program together occupy at most one OS
// thread. C code that unlocks the mutex wakes a goroutine without a call of Go.
//
// A Mutex may be copied; the copies are the same mutex. The zero Mutex must not be
// used, and no Mutex may be used in a bubble of testing/synctest.
type Mutex struct{ bits *uint8 }

// WrapMutex returns the mutex for a PyMutex, a byte, which C code may still use. The
// byte must be in C memory, and must stay there while C or Go uses the mutex. If the
// mutexes of the process are Python's, as pylock.h explains, Go code must not use them.
func WrapMutex(mutex unsafe.Pointer) Mutex { return Mutex{(*uint8)(mutex)} }

// Pointer returns the PyMutex, for C code to use.
func (m Mutex) Pointer() unsafe.Pointer { return unsafe.Pointer(m.bits) }

// Lock waits, without limit, until it has the lock.
//
// It is PyMutex_Lock.
func (m Mutex) Lock() {
	if !octet.CompareAndSwap(m.bits, C.MUTEX_FREE, C.MUTEX_LOCKED) {
		m.lock(-1, nil)
	}
	m.asLock().acquired()
}

// TryLock takes the lock if it is free and reports whether it did. It does not wait.
//
// It is pythread_mutex_lock_timed with a timeout of 0.
func (m Mutex) TryLock() bool { return m.LockTimed(0) == pythread.Acquired }

// LockTimed waits for the lock for at least us microseconds of the monotonic clock.
// It returns [pythread.Acquired], or [pythread.Failure] if the lock was not free in
// that time. If us is 0, it tries once. If us is negative, it waits without limit. A
// us above [pythread.TimeoutMax] counts as TimeoutMax.
//
// It is pythread_mutex_lock_timed with an intr_flag of 0.
func (m Mutex) LockTimed(us int64) pythread.LockStatus {
	timeout := time.Duration(-1)
	if us >= 0 {
		timeout = time.Duration(min(us, pythread.TimeoutMax)) * time.Microsecond
	}
	return m.lockWithin(timeout, nil)
}

// LockContext waits until it has the lock and returns [pythread.Acquired], or until
// ctx is done and returns [pythread.Interrupted]. If the lock is free, the result is
// Acquired, even if ctx was done before the call.
//
// It is pythread_mutex_lock_timed with an intr_flag of 1. There a signal to the
// thread ends the wait, as the end of ctx does here.
func (m Mutex) LockContext(ctx context.Context) pythread.LockStatus {
	return m.lockWithin(-1, ctx.Done())
}

// IsLocked reports whether the mutex is locked at this moment, by Go or C code. It is
// for assertions and for debugging.
//
// It is PyMutex_IsLocked.
func (m Mutex) IsLocked() bool { return octet.Load(m.bits)&C.MUTEX_LOCKED != 0 }

// Unlock frees the lock, which any goroutine or thread may have locked. It panics if
// the lock is free, and leaves it free. It does not block.
//
// It is PyMutex_Unlock, which ends the process instead of a panic.
func (m Mutex) Unlock() {
	m.asLock().released()
	if octet.CompareAndSwap(m.bits, C.MUTEX_LOCKED, C.MUTEX_FREE) {
		return
	}
	var goroutine C.uintptr_t
	if !C.mutex_unlock(m.c(), &goroutine) {
		panic("unlocking mutex that is not locked")
	}
	if goroutine != 0 {
		wake(goroutine)
	}
}

func (m Mutex) c() *C.PyMutex { return (*C.PyMutex)(m.Pointer()) }

// asLock returns a Lock by which lock_race.go tells the race detector of m.
func (m Mutex) asLock() Lock { return WrapLock(m.Pointer()) }

func (m Mutex) lockWithin(timeout time.Duration, cancel <-chan struct{}) pythread.LockStatus {
	status := pythread.Acquired
	if !octet.CompareAndSwap(m.bits, C.MUTEX_FREE, C.MUTEX_LOCKED) {
		status = m.lock(timeout, cancel)
	}
	if status == pythread.Acquired {
		m.asLock().acquired()
	}
	return status
}

// lock is the part of the lock functions for a mutex that others may have. It returns
// Failure when timeout has passed: at once if timeout is zero, and never if timeout is
// negative. It returns Interrupted when cancel is ready.
func (m Mutex) lock(timeout time.Duration, cancel <-chan struct{}) pythread.LockStatus {
	if timeout == 0 {
		if m.take(C.MUTEX_FREE) || m.take(C.MUTEX_RESERVED) {
			return pythread.Acquired
		}
		return pythread.Failure
	}
	if bool(C.mutex_spin(m.c())) || m.standAside() {
		return pythread.Acquired
	}
	return m.wait(timeout, cancel)
}

// take locks the mutex if its byte is from, and reports whether it did. The load
// saves the compare-and-swap if the byte differs.
func (m Mutex) take(from uint8) bool {
	return octet.Load(m.bits) == from && octet.CompareAndSwap(m.bits, from, C.MUTEX_LOCKED)
}

// standAside lets other goroutines run while the lock is reserved for a waiter. If
// the waiter does not take the lock within MUTEX_RESERVE_NS, standAside takes it.
// standAside also takes the lock if it becomes free. It reports whether it has the lock.
func (m Mutex) standAside() bool {
	if octet.Load(m.bits) != C.MUTEX_RESERVED {
		return false
	}
	for start := time.Now(); octet.Load(m.bits) == C.MUTEX_RESERVED; {
		runtime.Gosched()
		if time.Since(start) >= C.MUTEX_RESERVE_NS && m.take(C.MUTEX_RESERVED) {
			return true
		}
	}
	return m.take(C.MUTEX_FREE)
}

// waiter is a goroutine that waits, for the parking lot of pylock.c. The goroutine does
// not end its wait while its waiter is in the parking lot. If an unlock has woken the
// waiter, the goroutine also receives the token before it ends its wait.
type waiter struct {
	c     *C.struct_waiter
	token chan struct{} // a send wakes the goroutine; capacity 1, so that no send blocks
}

// waiters has every waiter that was ever made: as many as goroutines have waited at
// the same time. The number of a waiter in C code is its index in all, plus 1. A free
// waiter is not in the parking lot, and its channel is empty.
var waiters struct {
	mu   sync.Mutex
	all  []*waiter
	free []*waiter
}

// newWaiter returns a free waiter, or makes one.
func newWaiter() *waiter {
	waiters.mu.Lock()
	defer waiters.mu.Unlock()
	if n := len(waiters.free); n > 0 {
		w := waiters.free[n-1]
		waiters.free = waiters.free[:n-1]
		return w
	}
	w := &waiter{(*C.struct_waiter)(C.calloc(1, C.sizeof_struct_waiter)), make(chan struct{}, 1)}
	if w.c == nil {
		panic("capi: out of memory")
	}
	waiters.all = append(waiters.all, w)
	w.c.goroutine = C.uintptr_t(len(waiters.all))
	return w
}

// release makes the waiter free.
func (w *waiter) release() {
	waiters.mu.Lock()
	waiters.free = append(waiters.free, w)
	waiters.mu.Unlock()
}

// wake wakes the goroutine with a number. An unlock has marked its waiter as awake. The
// waiter is still in the parking lot.
func wake(goroutine C.uintptr_t) {
	waiters.mu.Lock()
	w := waiters.all[goroutine-1]
	waiters.mu.Unlock()
	w.token <- struct{}{}
}

// wait is the part of lock in which the goroutine sleeps.
func (m Mutex) wait(timeout time.Duration, cancel <-chan struct{}) pythread.LockStatus {
	var expired <-chan time.Time
	if timeout > 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		expired = timer.C
	}
	awaitRings()
	w := newWaiter()
	defer w.release()
	w.c.mutex = m.c()
	// The goroutine has stood aside already, so it takes even a lock that is reserved.
	status, wish := pythread.Acquired, uint32(C.LAPSED)
	for {
		settled := C.mutex_settle(w.c, wish)
		if wish == C.LEAVE && settled.was_woken {
			<-w.token // an unlock has woken w, so the token was sent or is about to be
		}
		if settled.has_lock {
			return pythread.Acquired
		}
		if wish == C.LEAVE {
			return status
		}
		select {
		case <-w.token:
		case <-expired:
			status, wish = pythread.Failure, C.LEAVE
		case <-cancel:
			status, wish = pythread.Interrupted, C.LEAVE
		}
	}
}

// awaitRings starts a goroutine, once, that wakes others after unlocks in C code. It
// sleeps in mutex_bell, on the one OS thread that all waits together occupy.
var awaitRings = sync.OnceFunc(func() {
	go func() {
		for {
			for w := C.mutex_bell(); w != nil; {
				goroutine := w.goroutine
				w = w.next_to_wake // before the goroutine uses the waiter again
				wake(goroutine)
			}
			// This lets the woken goroutines run now, on this goroutine's processor.
			// Otherwise they would wait until Go finds that this goroutine sleeps in C.
			runtime.Gosched()
		}
	}()
})
