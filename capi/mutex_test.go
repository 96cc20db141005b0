package capi_test

import (
	"context"
	"math/rand/v2"
	"runtime"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/seed-c0a0ef17/pythread/capi"
	"github.com/seed-c0a0ef17/pythread/capi/internal/capitest"
	"github.com/seed-c0a0ef17/pythread/pythread"
)

func newMutex(t testing.TB) capi.Mutex {
	mutex := capitest.NewMutex()
	t.Cleanup(func() { capitest.FreeMutex(mutex) })
	return capi.WrapMutex(mutex)
}

// untilBits waits until the mutex's byte has this value: 3 is locked, with waiters.
func untilBits(t *testing.T, m capi.Mutex, want uint8) {
	t.Helper()
	for i := range 30_000 {
		if capitest.MutexBits(m.Pointer()) == want {
			return
		}
		if i < 10_000 {
			runtime.Gosched()
		} else {
			time.Sleep(time.Millisecond)
		}
	}
	t.Fatalf("the byte is %d, want %d", capitest.MutexBits(m.Pointer()), want)
}

func TestBothSidesSeeWhetherAMutexIsLocked(t *testing.T) {
	m := newMutex(t)
	var _ sync.Locker = m
	m.Lock()
	if !m.IsLocked() || m.TryLock() || capitest.LockMutexTimed(m.Pointer(), 0) != pythread.Failure {
		t.Error("locked twice")
	}
	capitest.UnlockMutex(m.Pointer())
	if m.IsLocked() {
		t.Error("C's unlock left it locked")
	}
	capitest.LockMutex(m.Pointer())
	if !m.IsLocked() || m.TryLock() || m.LockTimed(1000) != pythread.Failure {
		t.Error("Go locked what C holds")
	}
	m.Unlock()
	if same := capi.WrapMutex(m.Pointer()); same != m {
		t.Error("two Mutexes of one mutex differ")
	}
	untilBits(t, m, 0)
}

func TestAMutexWithoutContentionDoesNotCallC(t *testing.T) {
	m := newMutex(t)
	before := runtime.NumCgoCall()
	for range 1000 {
		m.Lock()
		m.Unlock()
		m.TryLock()
		m.TryLock()
		m.Unlock()
		m.LockTimed(-1)
		m.Unlock()
	}
	// The runtime may have made a few.
	if calls := runtime.NumCgoCall() - before; calls > 100 {
		t.Errorf("%d calls of C in 1000 rounds", calls)
	}
}

func TestUnlockOfAFreeMutexPanicsAndLeavesItFree(t *testing.T) {
	m := newMutex(t)
	for range 2 {
		if got := recovered(m.Unlock); got != "unlocking mutex that is not locked" {
			t.Errorf("Unlock panics with %v", got)
		}
		untilBits(t, m, 0)
	}
}

func TestTimedLockWaitsForItsTimeAndLeavesNoTrace(t *testing.T) {
	m := newMutex(t)
	m.Lock()
	for _, us := range []int64{1, 1000, 50_000} {
		start := time.Now()
		if status := m.LockTimed(us); status != pythread.Failure {
			t.Errorf("LockTimed(%d) = %v", us, status)
		}
		if waited := time.Since(start); waited < time.Duration(us)*time.Microsecond {
			t.Errorf("LockTimed(%d) waited %v", us, waited)
		}
		untilBits(t, m, 1)
	}
}

func TestContextEndsAWaitForAMutex(t *testing.T) {
	m := newMutex(t)
	ctx, cancel := context.WithCancel(context.Background())
	if got := m.LockContext(ctx); got != pythread.Acquired {
		t.Errorf("LockContext() of a free mutex = %v", got)
	}
	waiter := pythread.Start(func() {
		if got := m.LockContext(ctx); got != pythread.Interrupted {
			t.Errorf("LockContext() = %v", got)
		}
	})
	untilBits(t, m, 3)
	cancel()
	waiter.Join()
	untilBits(t, m, 1)
}

// mutexWaits are the ways to wait for a mutex that comes.
var mutexWaits = map[string]func(capi.Mutex) bool{
	"Lock":          func(m capi.Mutex) bool { m.Lock(); return true },
	"LockTimed(-1)": func(m capi.Mutex) bool { return m.LockTimed(-1) == pythread.Acquired },
	"LockTimed":     func(m capi.Mutex) bool { return m.LockTimed(1<<63-1) == pythread.Acquired },
	"LockContext": func(m capi.Mutex) bool {
		return m.LockContext(context.Background()) == pythread.Acquired
	},
	"C": func(m capi.Mutex) bool { capitest.LockMutex(m.Pointer()); return true },
}

func TestAnUnlockOfEitherSideEndsAWaitOfEitherSide(t *testing.T) {
	for name, wait := range mutexWaits {
		for unlocker, unlock := range map[string]func(capi.Mutex){
			"Go": capi.Mutex.Unlock,
			"C":  func(m capi.Mutex) { capitest.UnlockMutex(m.Pointer()) },
		} {
			t.Run(name+", unlocked by "+unlocker, func(t *testing.T) {
				m := newMutex(t)
				m.Lock()
				var unlocked atomic.Bool
				waiter := pythread.Start(func() {
					if !wait(m) || !unlocked.Load() {
						t.Error("the wait ended without the lock")
					}
					m.Unlock()
				})
				untilBits(t, m, 3)
				unlocked.Store(true)
				unlock(m)
				waiter.Join()
				untilBits(t, m, 0)
			})
		}
	}
}

// Goroutines and threads wait in one queue.
func TestGoroutinesAndThreadsComeInTheirOrder(t *testing.T) {
	m := newMutex(t)
	m.Lock()
	var got []int
	var all sync.WaitGroup
	for i := range 8 {
		// A goroutine or thread that parks makes the byte 3 again.
		*(*uint8)(m.Pointer()) = 1
		all.Add(1)
		go func() {
			defer all.Done()
			if i%2 == 0 {
				m.Lock()
			} else {
				capitest.LockMutex(m.Pointer())
			}
			got = append(got, i)
			m.Unlock()
		}()
		untilBits(t, m, 3)
	}
	capitest.UnlockMutex(m.Pointer())
	all.Wait()
	for i, who := range got {
		if i != who {
			t.Fatalf("locked in order %v", got)
		}
	}
}

func TestAReservedMutexMayBeTaken(t *testing.T) {
	m := newMutex(t)
	for name, lock := range mutexWaits {
		// This reserves the mutex, but no waiter comes. The number is MUTEX_RESERVED
		// of mutex.h.
		*(*uint8)(m.Pointer()) = 2
		if m.IsLocked() || !lock(m) || !m.IsLocked() {
			t.Errorf("%s: no lock", name)
		}
		m.Unlock()
	}
	*(*uint8)(m.Pointer()) = 2
	if recovered(m.Unlock) == nil {
		t.Error("Unlock of a free mutex")
	}
	if !m.TryLock() || m.TryLock() {
		t.Error("TryLock of a reserved mutex")
	}
}

// C threads, goroutines, and threads that C has started: all that a process has.
func TestACounterIsExactUnderOneMutexOnAllSides(t *testing.T) {
	const each = 4
	times := 20_000
	if testing.Short() {
		times /= 10
	}
	m := newMutex(t)
	counter := capitest.NewCounter()
	defer capitest.FreeCounter(counter)
	var inGo int // the race detector looks at it
	var all sync.WaitGroup
	count := func(i int) {
		random := rand.New(rand.NewPCG(1, uint64(i)))
		for range times {
			for !lockMutexSomehow(m, random) {
			}
			inGo++
			*counter++
			m.Unlock()
		}
	}
	for i := range each {
		all.Add(3)
		go func() {
			defer all.Done()
			count(i)
		}()
		go func() {
			defer all.Done()
			capitest.StartCounting(m.Pointer(), counter, times)()
		}()
		go func() {
			defer all.Done()
			_, handle := capitest.Start(func() { count(each + i) })
			if errno := capitest.Join(handle); errno != 0 {
				t.Errorf("Join() = %v", errno)
			}
		}()
	}
	all.Wait()
	if inGo != 2*each*times || *counter != int64(3*each*times) {
		t.Errorf("counted %d and %d, want %d and %d", inGo, *counter, 2*each*times, 3*each*times)
	}
	untilBits(t, m, 0)
}

// lockMutexSomehow locks in a random way, and reports whether it did.
func lockMutexSomehow(m capi.Mutex, random *rand.Rand) bool {
	switch random.IntN(10) {
	case 0:
		return m.LockTimed(random.Int64N(100)) == pythread.Acquired
	case 1:
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.IntN(100_000)))
		defer cancel()
		return m.LockContext(ctx) == pythread.Acquired
	case 2:
		return m.TryLock()
	}
	m.Lock()
	return true
}

func TestCancelRacingUnlockLosesNoMutex(t *testing.T) {
	rounds := 5000
	if testing.Short() {
		rounds /= 10
	}
	m := newMutex(t)
	outcomes := map[pythread.LockStatus]int{}
	for i := range rounds {
		m.Lock()
		ctx, cancel := context.WithCancel(context.Background())
		waiter := pythread.Start(func() { panic(m.LockContext(ctx)) })
		if i%2 == 0 {
			untilBits(t, m, 3)
		}
		unlock := m.Unlock
		if i%4 < 2 {
			unlock = func() { capitest.UnlockMutex(m.Pointer()) }
		}
		first, second := cancel, unlock
		if i%8 < 4 {
			first, second = unlock, cancel
		}
		other := pythread.Start(first)
		second()
		status := waiter.Join().(pythread.LockStatus)
		outcomes[status]++
		other.Join()
		if status == pythread.Acquired {
			untilBits(t, m, 1)
			m.Unlock()
		}
		untilBits(t, m, 0)
	}
	t.Log(outcomes)
}

func TestParkedGoroutinesTakeNoOSThreadsAndLittleMemory(t *testing.T) {
	// The race detector allows 8,000 goroutines.
	goroutines, most := 100_000, uint64(4096) // bytes each: twice a goroutine's stack
	if raceEnabled {
		goroutines, most = 5000, 10_000
	}
	m, all := newMutex(t), sync.WaitGroup{}
	m.Lock()
	var running atomic.Int64
	park := func(n int) {
		for range n {
			all.Add(1)
			go func() {
				defer all.Done()
				running.Add(1)
				m.Lock()
				m.Unlock()
			}()
		}
	}
	park(1) // with which the bell begins
	untilBits(t, m, 3)
	threads, before := pprof.Lookup("threadcreate").Count(), memoryInUse()
	park(goroutines)
	for running.Load() < int64(goroutines) {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond)
	if each := (memoryInUse() - before) / uint64(goroutines); each > most {
		t.Errorf("each takes %d bytes, more than %d", each, most)
	} else {
		t.Log(each, "bytes each")
	}
	// A few may be made for the collector and for system calls.
	if now := pprof.Lookup("threadcreate").Count(); now > threads+20 {
		t.Errorf("%d OS threads more", now-threads)
	}
	capitest.UnlockMutex(m.Pointer())
	all.Wait()
	untilBits(t, m, 0)
}

// memoryInUse returns the bytes that Go and malloc have in use.
func memoryInUse() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapInuse + stats.StackInuse + uint64(capitest.Allocated())
}

func BenchmarkMutexPair(b *testing.B) {
	b.Run("capi", func(b *testing.B) {
		m := newMutex(b)
		for range b.N {
			m.Lock()
			m.Unlock()
		}
	})
	b.Run("pythread", func(b *testing.B) {
		var m pythread.Mutex
		for range b.N {
			m.Lock()
			m.Unlock()
		}
	})
}

// BenchmarkMutexHanded measures two wake-ups: a C thread and a goroutine, or two C
// threads, hand a mutex to each other and back.
func BenchmarkMutexHanded(b *testing.B) {
	b.Run("goroutine_and_C", func(b *testing.B) {
		capitest.HandBackAndForth(b.N, func(there, back unsafe.Pointer) {
			for range b.N {
				capi.WrapMutex(there).Unlock()
				capi.WrapMutex(back).Lock()
			}
		})
	})
	b.Run("two_of_C", func(b *testing.B) { capitest.HandBackAndForth(b.N, nil) })
}
