package pythread

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"
	"unsafe"
)

// heldMutex returns a mutex that has been locked.
func heldMutex() *Mutex {
	m := new(Mutex)
	m.Lock()
	return m
}

// locks are all the ways to lock a mutex. busy is the status for one that is
// locked, or waits if the call waits for it.
var locks = []struct {
	name string
	lock func(m *Mutex) LockStatus
	busy LockStatus
}{
	{"Lock", func(m *Mutex) LockStatus { m.Lock(); return Acquired }, waits},
	{"TryLock", tryMutex, Failure},
	{"LockTimed zero", func(m *Mutex) LockStatus { return m.LockTimed(0) }, Failure},
	{"LockTimed one", func(m *Mutex) LockStatus { return m.LockTimed(1) }, Failure},
	{"LockTimed for ever", func(m *Mutex) LockStatus { return m.LockTimed(-1) }, waits},
	{"LockTimed least", func(m *Mutex) LockStatus { return m.LockTimed(math.MinInt64) }, waits},
	{"LockTimed TimeoutMax", func(m *Mutex) LockStatus { return m.LockTimed(TimeoutMax) }, waits},
	{"LockTimed too long", func(m *Mutex) LockStatus { return m.LockTimed(math.MaxInt64) }, waits},
	{"LockContext", func(m *Mutex) LockStatus { return m.LockContext(context.Background()) }, waits},
	{"LockContext done", func(m *Mutex) LockStatus { return m.LockContext(done()) }, Interrupted},
}

func tryMutex(m *Mutex) LockStatus {
	if m.TryLock() {
		return Acquired
	}
	return Failure
}

func TestMutexIsALockerOfOneByte(t *testing.T) {
	var m Mutex
	var _ sync.Locker = &m
	if size := unsafe.Sizeof(m); size != 1 {
		t.Errorf("a Mutex has %d bytes", size)
	}
}

func TestByteOfAMutexHasTheValuesOfAPyMutex(t *testing.T) {
	is := func(m *Mutex, want uint8) {
		t.Helper()
		if got := m.load(); got != want || m.IsLocked() != (want&1 != 0) {
			t.Errorf("the byte is %d, want %d; IsLocked() = %v", got, want, m.IsLocked())
		}
	}
	m := new(Mutex)
	is(m, 0)
	m.Lock()
	is(m, 1)
	waiter := Start(m.Lock)
	untilParked(t, m, 1)
	is(m, 3)
	m.Unlock()
	waiter.Join()
	is(m, 1)
	m.Unlock()
	is(m, 0)
}

func TestEveryLockTakesAFreeMutex(t *testing.T) {
	for _, l := range locks {
		t.Run(l.name, func(t *testing.T) {
			var m Mutex
			for range 3 {
				if got := l.lock(&m); got != Acquired {
					t.Fatalf("lock of a free mutex: %v", got)
				}
				if m.TryLock() {
					t.Fatal("locked twice")
				}
				m.Unlock()
			}
		})
	}
}

func TestBusyMutexIsRefusedOrWaitedFor(t *testing.T) {
	for _, l := range locks {
		t.Run(l.name, func(t *testing.T) {
			m := heldMutex()
			if l.busy != waits {
				if got := l.lock(m); got != l.busy {
					t.Errorf("lock of a locked mutex: %v, want %v", got, l.busy)
				}
			} else {
				waiter := Start(func() {
					if got := l.lock(m); got != Acquired {
						t.Errorf("lock after a wait: %v", got)
					}
				})
				untilParked(t, m, 1)
				m.Unlock()
				waiter.Join()
			}
			m.Unlock()
			checkMutexFree(t, m)
		})
	}
}

// untilParked waits until n goroutines are parked at the mutex.
func untilParked(t *testing.T, m *Mutex, n int) {
	t.Helper()
	eventually(t, func() error {
		if got := parkedAt(m); got != n {
			return fmt.Errorf("%d waiters, want %d", got, n)
		}
		return nil
	})
}

func parkedAt(m *Mutex) (n int) {
	b := bucketOf(m)
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.find(m); p != nil {
		for w := p.first; w != nil; w = w.next {
			n++
		}
	}
	return n
}

// checkMutexFree fails the test if the mutex is not as good as new.
func checkMutexFree(t *testing.T, m *Mutex) {
	t.Helper()
	b := bucketOf(m)
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.find(m); p != nil || m.load() != 0 {
		t.Errorf("mutex is left with byte %d and place %+v", m.load(), p)
	}
}

func TestAnyGoroutineMayUnlock(t *testing.T) {
	m := heldMutex()
	Start(m.Unlock).Join()
	if !m.TryLock() {
		t.Error("mutex is not free after another goroutine's Unlock")
	}
}

func TestUnlockOfAFreeMutexPanicsAndLeavesItFree(t *testing.T) {
	var m Mutex
	for range 2 {
		if got := recovered(m.Unlock); got != "unlocking mutex that is not locked" {
			t.Errorf("Unlock panicked with %v", got)
		}
		checkMutexFree(t, &m)
		m.Lock()
		m.Unlock()
	}
}

// Each mutex of an array shares its word with others, and with bytes that are
// written without a lock.
func TestMutexLeavesItsNeighboursAlone(t *testing.T) {
	const rounds = 20_000
	var s [8]struct {
		m    Mutex
		own  uint8 // guarded by m
		free uint8 // written by one goroutine alone
	}
	var all sync.WaitGroup
	for i := range s {
		for range 2 {
			all.Add(1)
			go func() {
				defer all.Done()
				for range rounds {
					s[i].m.Lock()
					s[i].own++
					s[i].m.Unlock()
				}
			}()
		}
		all.Add(1)
		go func() {
			defer all.Done()
			for range rounds {
				if s[i].free++; i%2 == 0 {
					runtime.Gosched()
				}
			}
		}()
	}
	all.Wait()
	for i := range s {
		if want := uint8(2 * rounds % 256); s[i].own != want {
			t.Errorf("%d: own is %d, want %d", i, s[i].own, want)
		}
		if want := uint8(rounds % 256); s[i].free != want {
			t.Errorf("%d: free is %d, want %d", i, s[i].free, want)
		}
		checkMutexFree(t, &s[i].m)
	}
}

func TestTimedLockNeverReturnsEarly(t *testing.T) {
	for _, timeout := range []time.Duration{1, 10, 999, 1000, 20_000} {
		timeout *= time.Microsecond
		t.Run(timeout.String(), func(t *testing.T) {
			m := heldMutex()
			stop := make(chan struct{})
			neighbour := Start(func() { // keeps parking and leaving
				for {
					select {
					case <-stop:
						return
					default:
						m.LockTimed(100)
					}
				}
			})
			for range 5 {
				start := time.Now()
				got := m.LockTimed(timeout.Microseconds())
				if took := time.Since(start); got != Failure || took < timeout {
					t.Errorf("%v after %v", got, took)
				}
			}
			close(stop)
			neighbour.Join()
		})
	}
}

func TestCancelledContextInterruptsTheWaitForAMutex(t *testing.T) {
	m := heldMutex()
	ctx, cancel := context.WithCancel(context.Background())
	waiter := Start(func() {
		if got := m.LockContext(ctx); got != Interrupted {
			t.Errorf("LockContext() = %v, want %v", got, Interrupted)
		}
	})
	untilParked(t, m, 1)
	cancel()
	waiter.Join()
	m.Unlock()
	checkMutexFree(t, m)
}

// The waiters for mutexes whose addresses fall to one bucket are kept apart.
func TestWaitersAreWokenInOrderByAddress(t *testing.T) {
	const mutexes, each = 3, 5
	space := make([]Mutex, 1<<16)
	var same []*Mutex
	for i := range space {
		if m := &space[i]; bucketOf(m) == bucketOf(&space[0]) {
			same = append(same, m)
		}
	}
	if len(same) < mutexes {
		t.Fatalf("only %d addresses fall to the bucket", len(same))
	}
	var got [mutexes][]int
	var all sync.WaitGroup
	for i, m := range same[:mutexes] {
		m.Lock()
		for j := range each {
			all.Add(1)
			go func() {
				defer all.Done()
				m.Lock()
				got[i] = append(got[i], j)
				m.Unlock()
			}()
			untilParked(t, m, j+1)
		}
	}
	for _, m := range same[:mutexes] {
		m.Unlock()
	}
	all.Wait()
	for i, order := range got {
		for j, who := range order {
			if who != j {
				t.Errorf("mutex %d: locked in order %v", i, order)
				break
			}
		}
		checkMutexFree(t, same[i])
	}
}

// reserve returns a mutex and an old waiter for which the mutex is reserved. The
// waiter was woken once, found the mutex locked, and has been woken again.
func reserve(t *testing.T) (*Mutex, *waiter) {
	m, w := heldMutex(), agedWaiter(true)
	m.enqueue(w)
	m.Unlock()
	<-w.token
	w.awake = true // as wait does
	if !m.TryLock() {
		t.Fatal("a mutex whose waiter is being woken could not be locked")
	}
	if m.enqueue(w) {
		t.Fatal("the waiter got a locked mutex")
	}
	m.Unlock()
	<-w.token
	w.awake = true
	if b := m.load(); b != parked || m.IsLocked() {
		t.Fatalf("the byte is %d, want %d", b, parked)
	}
	return m, w
}

func TestMutexIsReservedForAnOldWaiterThatLost(t *testing.T) {
	m, w := reserve(t)
	other := agedWaiter(true)
	if m.enqueue(other) {
		t.Error("another waiter got the reserved mutex")
	}
	if !m.enqueue(w) {
		t.Error("the waiter did not get the mutex that is reserved for it")
	}
	m.Unlock()
	<-other.token
	if b := m.load(); b != 0 {
		t.Errorf("after the unlock for a waiter that has not lost, the byte is %d", b)
	}
}

func TestReservedMutexMayBeTaken(t *testing.T) {
	for _, l := range locks {
		t.Run(l.name, func(t *testing.T) {
			m, w := reserve(t)
			// The waiter does not run. So others take the lock: a call that does not
			// wait takes it at once, and a call that waits takes it after lapse.
			if got := l.lock(m); got != Acquired {
				if l.busy == waits {
					t.Errorf("lock of a reserved mutex: %v", got)
				}
				m.Lock()
			}
			if m.enqueue(w) || m.leave(w) {
				t.Error("the waiter got a locked mutex")
			}
			m.Unlock()
			checkMutexFree(t, m)
		})
	}
}

func TestBusyNeighboursDoNotStarveAWaiterForAMutex(t *testing.T) {
	var m Mutex
	checkNeighbours(m.Lock, m.Unlock)
	checkMutexFree(t, &m)
}

func TestCounterUnderMixedLocksComesOutExact(t *testing.T) {
	checkCounter(t, []int{2, 3, 8, 64}, func() (func(*rand.Rand) LockStatus, func(), func()) {
		m := new(Mutex)
		return func(random *rand.Rand) LockStatus { return lockSomehow(m, random) },
			m.Unlock, func() { checkMutexFree(t, m) }
	})
}

// lockSomehow locks in a random way, mostly in a quick one.
func lockSomehow(m *Mutex, random *rand.Rand) LockStatus {
	switch random.IntN(20) {
	case 0:
		return m.LockTimed(random.Int64N(100))
	case 1:
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.IntN(100_000)))
		defer cancel()
		return m.LockContext(ctx)
	case 2:
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go cancel()
		return m.LockContext(ctx)
	case 3, 4, 5:
		return tryMutex(m)
	default:
		m.Lock()
		return Acquired
	}
}

func TestCancelRacingUnlockLosesNoMutex(t *testing.T) {
	rounds := 20_000
	if testing.Short() {
		rounds /= 20
	}
	m := new(Mutex)
	outcomes := map[LockStatus]int{}
	for i := range rounds {
		m.Lock()
		ctx, cancel := context.WithCancel(context.Background())
		waiter := StartWith(func(*Handle) { panic(m.LockContext(ctx)) })
		if i%2 == 0 {
			for m.load()&parked == 0 {
				runtime.Gosched()
			}
		}
		canceller := Start(cancel)
		m.Unlock()
		status := waiter.Join().(LockStatus)
		outcomes[status]++
		if status == Acquired {
			m.Unlock()
		}
		canceller.Join()
		if checkMutexFree(t, m); t.Failed() {
			t.Fatalf("after a lock that was %v", status)
		}
	}
	t.Log(outcomes)
}
