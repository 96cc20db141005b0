package capi_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c0a0ef17/pythread/capi"
	"github.com/seed-c0a0ef17/pythread/capi/internal/capitest"
	"github.com/seed-c0a0ef17/pythread/pythread"
)

func newLock(t *testing.T) capi.Lock {
	lock := capi.NewLock()
	t.Cleanup(lock.Free)
	return lock
}

func TestBothSidesSeeWhetherALockIsHeld(t *testing.T) {
	lock := newLock(t)
	if !lock.TryAcquire() {
		t.Fatal("a new lock is held")
	}
	if lock.TryAcquire() || capitest.Acquire(lock.Pointer(), false) {
		t.Error("acquired twice")
	}
	capitest.Release(lock.Pointer())
	if !capitest.Acquire(lock.Pointer(), false) {
		t.Error("C's release left it held")
	}
	if lock.TryAcquire() || lock.AcquireTimed(0) != pythread.Failure {
		t.Error("Go acquired what C holds")
	}
	lock.Release()
	lock.Acquire()
	lock.Release()
	if status := lock.AcquireTimed(-1); status != pythread.Acquired {
		t.Errorf("AcquireTimed(-1) of a free lock: %v", status)
	}
	lock.Release()
}

func TestALockWithoutContentionDoesNotCallC(t *testing.T) {
	lock := newLock(t)
	before := runtime.NumCgoCall()
	for range 1000 {
		lock.Acquire()
		lock.Release()
		lock.TryAcquire()
		lock.Release()
		lock.AcquireTimed(-1)
		lock.Release()
	}
	// The runtime may have made a few OS threads.
	if calls := runtime.NumCgoCall() - before; calls > 100 {
		t.Errorf("%d calls of C in 1000 rounds", calls)
	}
}

func TestWrapLockIsTheSameLock(t *testing.T) {
	c := capitest.AllocateLock()
	lock, same := capi.WrapLock(c), capi.WrapLock(c)
	if lock != same || lock.Pointer() != c {
		t.Error("two Locks of one lock differ")
	}
	lock.Acquire()
	if same.TryAcquire() {
		t.Error("acquired twice")
	}
	same.Release()
	lock.Free()
}

func TestReleaseOfAFreeLockPanicsAndLeavesItFree(t *testing.T) {
	lock := newLock(t)
	want := "capi: Release of a Lock that is free"
	for range 2 {
		if got := recovered(lock.Release); got != want {
			t.Errorf("Release panics with %v, want %q", got, want)
		}
		if !lock.TryAcquire() {
			t.Error("the lock is held")
		}
		if lock.TryAcquire() {
			t.Error("the lock lets two in")
		}
		lock.Release()
	}
}

func TestAcquireTimedWaitsForItsTime(t *testing.T) {
	lock := newLock(t)
	lock.Acquire()
	for _, us := range []int64{1, 1000, 50_000} {
		start := time.Now()
		if status := lock.AcquireTimed(us); status != pythread.Failure {
			t.Errorf("AcquireTimed(%d) = %v", us, status)
		}
		if waited := time.Since(start); waited < time.Duration(us)*time.Microsecond {
			t.Errorf("AcquireTimed(%d) waited %v", us, waited)
		}
	}
	lock.Release()
}

// waits are the ways to wait for a lock that becomes free.
var waits = map[string]func(capi.Lock) bool{
	"Acquire":          func(l capi.Lock) bool { l.Acquire(); return true },
	"AcquireTimed(-1)": func(l capi.Lock) bool { return l.AcquireTimed(-1) == pythread.Acquired },
	"AcquireTimed of a minute": func(l capi.Lock) bool {
		return l.AcquireTimed(60_000_000) == pythread.Acquired
	},
	"AcquireTimed of the longest": func(l capi.Lock) bool {
		return l.AcquireTimed(pythread.TimeoutMax) == pythread.Acquired
	},
	"AcquireTimed of more": func(l capi.Lock) bool { return l.AcquireTimed(1<<63-1) == pythread.Acquired },
	"C":                    func(l capi.Lock) bool { return capitest.Acquire(l.Pointer(), true) },
}

func TestAReleaseOfEitherSideEndsAWaitOfEitherSide(t *testing.T) {
	for name, wait := range waits {
		for releaser, release := range map[string]func(capi.Lock){
			"Go": capi.Lock.Release,
			"C":  func(l capi.Lock) { capitest.Release(l.Pointer()) },
		} {
			t.Run(name+", released by "+releaser, func(t *testing.T) {
				lock := newLock(t)
				lock.Acquire()
				var released atomic.Bool
				waiter := pythread.Start(func() {
					if !wait(lock) || !released.Load() {
						t.Error("the wait ended without the lock")
					}
					lock.Release()
				})
				time.Sleep(10 * time.Millisecond) // long enough to fall asleep
				released.Store(true)
				release(lock)
				waiter.Join()
				if !lock.TryAcquire() {
					t.Error("the lock is held")
				}
				lock.Release()
			})
		}
	}
}

func TestALockThatIsReservedForASleeperIsFree(t *testing.T) {
	// The word after a release that hands the lock to a sleeper, before the
	// sleeper takes it. The number is RESERVED of lock.h.
	reserve := func(l capi.Lock) { (*atomic.Uint32)(l.Pointer()).Store(3) }
	lock := newLock(t)
	reserve(lock)
	if !lock.TryAcquire() {
		t.Error("TryAcquire failed")
	}
	if lock.TryAcquire() {
		t.Error("acquired twice")
	}
	lock.Release()
	reserve(lock)
	if recovered(lock.Release) == nil {
		t.Error("Release of a free lock")
	}
	if status := lock.AcquireTimed(1000); status != pythread.Acquired {
		t.Errorf("AcquireTimed: %v", status)
	}
	lock.Release()
}

func TestACounterIsExactUnderOneLockOnBothSides(t *testing.T) {
	const goroutines = 4
	times := 20_000
	if testing.Short() {
		times /= 10
	}
	lock := newLock(t)
	// One variable in Go memory, which the race detector sees, and one in C memory.
	var inGo int
	inBoth := new(int64)
	var all sync.WaitGroup
	for i := range goroutines {
		all.Add(2)
		go func() {
			defer all.Done()
			capitest.Count(lock.Pointer(), inBoth, times)
		}()
		go func() {
			defer all.Done()
			for j := range times {
				switch (i + j) % 3 {
				case 0:
					lock.Acquire()
				case 1:
					for !lock.TryAcquire() {
						time.Sleep(time.Microsecond)
					}
				case 2:
					for lock.AcquireTimed(50) != pythread.Acquired {
					}
				}
				inGo++
				*inBoth++
				lock.Release()
			}
		}()
	}
	all.Wait()
	if inGo != goroutines*times || *inBoth != int64(2*goroutines*times) {
		t.Errorf("counted %d and %d, want %d and %d", inGo, *inBoth, goroutines*times, 2*goroutines*times)
	}
}

func BenchmarkLockPair(b *testing.B) {
	b.Run("capi", func(b *testing.B) {
		lock := capi.NewLock()
		defer lock.Free()
		for range b.N {
			lock.Acquire()
			lock.Release()
		}
	})
	b.Run("pythread", func(b *testing.B) {
		var lock pythread.Lock
		for range b.N {
			lock.Acquire()
			lock.Release()
		}
	})
	b.Run("calls_of_C", func(b *testing.B) {
		lock := capitest.AllocateLock()
		defer capi.WrapLock(lock).Free()
		for range b.N {
			capitest.Acquire(lock, true)
			capitest.Release(lock)
		}
	})
}

// BenchmarkLockContended measures a lock that goroutines and C loops, half of each,
// acquire and release all the time. An operation is one pair.
func BenchmarkLockContended(b *testing.B) {
	for _, c := range []struct {
		name      string
		inGo, inC int
	}{{"2_in_Go", 2, 0}, {"1_in_Go_1_in_C", 1, 1}, {"2_in_C", 0, 2}} {
		b.Run(c.name, func(b *testing.B) {
			lock := capi.NewLock()
			defer lock.Free()
			n := new(int64)
			var all sync.WaitGroup
			for i := range c.inGo + c.inC {
				all.Add(1)
				go func() {
					defer all.Done()
					if i >= c.inGo {
						capitest.Count(lock.Pointer(), n, b.N/2)
						return
					}
					for range b.N / 2 {
						lock.Acquire()
						*n++
						lock.Release()
					}
				}()
			}
			all.Wait()
		})
	}
}
