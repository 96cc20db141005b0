package pythread

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// heldLock returns a lock that has been acquired.
func heldLock() *Lock {
	l := new(Lock)
	l.Acquire()
	return l
}

// done is a context that has ended.
func done() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// acquires are all the ways to acquire a lock. busy is the status for a lock
// that is held, or waits if the acquire waits for it.
var acquires = []struct {
	name    string
	acquire func(l *Lock) LockStatus
	busy    LockStatus
}{
	{"Acquire", func(l *Lock) LockStatus { l.Acquire(); return Acquired }, waits},
	{"TryAcquire", try, Failure},
	{"AcquireTimed zero", func(l *Lock) LockStatus { return l.AcquireTimed(0) }, Failure},
	{"AcquireTimed one", func(l *Lock) LockStatus { return l.AcquireTimed(1) }, Failure},
	{"AcquireTimed for ever", func(l *Lock) LockStatus { return l.AcquireTimed(-1) }, waits},
	{"AcquireTimed least", func(l *Lock) LockStatus { return l.AcquireTimed(math.MinInt64) }, waits},
	{"AcquireTimed TimeoutMax", func(l *Lock) LockStatus { return l.AcquireTimed(TimeoutMax) }, waits},
	{"AcquireTimed too long", func(l *Lock) LockStatus { return l.AcquireTimed(math.MaxInt64) }, waits},
	{"AcquireContext", func(l *Lock) LockStatus { return l.AcquireContext(context.Background()) }, waits},
	{"AcquireContext done", func(l *Lock) LockStatus { return l.AcquireContext(done()) }, Interrupted},
	{"AcquireWithRetries zero", retries(0), Failure},
	{"AcquireWithRetries one", retries(1), Failure},
	{"AcquireWithRetries for ever", retries(-1), waits},
	{"AcquireWithRetries too long", retries(math.MaxInt64), waits},
}

const waits LockStatus = -1

func try(l *Lock) LockStatus {
	if l.TryAcquire() {
		return Acquired
	}
	return Failure
}

func retries(timeout time.Duration) func(l *Lock) LockStatus {
	return func(l *Lock) LockStatus {
		status, err := l.AcquireWithRetries(timeout, func() error { return errors.New("pending was called") })
		if err != nil {
			panic(err)
		}
		return status
	}
}

func TestEveryAcquireTakesAFreeLock(t *testing.T) {
	for _, a := range acquires {
		t.Run(a.name, func(t *testing.T) {
			var l Lock
			for range 3 {
				if got := a.acquire(&l); got != Acquired {
					t.Fatalf("acquire of a free lock: %v", got)
				}
				if l.TryAcquire() {
					t.Fatal("acquired twice")
				}
				l.Release()
			}
		})
	}
}

func TestBusyLockIsRefusedOrWaitedFor(t *testing.T) {
	for _, a := range acquires {
		t.Run(a.name, func(t *testing.T) {
			l := heldLock()
			if a.busy != waits {
				if got := a.acquire(l); got != a.busy {
					t.Errorf("acquire of a held lock: %v, want %v", got, a.busy)
				}
			} else {
				// The lock is not recursive: its second acquire waits, until
				// any goroutine releases it.
				waiter := Start(func() {
					if got := a.acquire(l); got != Acquired {
						t.Errorf("acquire after a wait: %v", got)
					}
				})
				untilQueued(t, l, 1)
				l.Release()
				waiter.Join()
			}
			l.Release()
			checkFree(t, l)
		})
	}
}

// untilQueued waits until n goroutines are in the lock's queue.
func untilQueued(t *testing.T, l *Lock, n int) {
	t.Helper()
	eventually(t, func() error {
		if got := l.queueLength(); got != n {
			return fmt.Errorf("%d waiters, want %d", got, n)
		}
		return nil
	})
}

func (l *Lock) queueLength() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := l.first; w != nil; w = w.next {
		n++
	}
	return n
}

// checkFree fails the test if the lock is not as good as new.
func checkFree(t *testing.T, l *Lock) {
	t.Helper()
	if s := l.state.Load(); s != 0 || l.awake || l.first != nil || l.last != nil {
		t.Errorf("lock is left with state %b, awake %v, first %p, last %p", s, l.awake, l.first, l.last)
	}
}

func TestAnyGoroutineMayRelease(t *testing.T) {
	l := heldLock()
	Start(l.Release).Join()
	if !l.TryAcquire() {
		t.Error("lock is not free after another goroutine's Release")
	}
}

func TestReleaseOfAFreeLockPanicsAndLeavesItFree(t *testing.T) {
	var l Lock
	for range 2 {
		if got := recovered(l.Release); got != "pythread: Release of a Lock that is free" {
			t.Errorf("Release panicked with %v", got)
		}
		checkFree(t, &l)
		l.Acquire()
		l.Release()
	}
}

func TestTimedAcquireNeverReturnsEarly(t *testing.T) {
	for _, timeout := range []time.Duration{1, 10, 999, 1000, 20_000} {
		timeout *= time.Microsecond
		for name, acquire := range map[string]func(l *Lock) LockStatus{
			"AcquireTimed":       func(l *Lock) LockStatus { return l.AcquireTimed(timeout.Microseconds()) },
			"AcquireWithRetries": retries(timeout),
		} {
			t.Run(fmt.Sprint(name, timeout), func(t *testing.T) {
				l := heldLock()
				// A neighbour keeps entering and leaving the queue.
				stop := make(chan struct{})
				neighbour := Start(func() {
					for {
						select {
						case <-stop:
							return
						default:
							l.AcquireTimed(100)
						}
					}
				})
				for range 5 {
					start := time.Now()
					got := acquire(l)
					if took := time.Since(start); got != Failure || took < timeout {
						t.Errorf("%v after %v", got, took)
					}
				}
				close(stop)
				neighbour.Join()
			})
		}
	}
}

func TestTimedAcquireThatKeepsLosingNeverReturnsEarly(t *testing.T) {
	// Again and again the waiter is woken and finds the lock taken.
	const timeout = 5 * time.Millisecond
	var l Lock
	var stop atomic.Bool
	var others sync.WaitGroup
	for range 4 {
		others.Add(1)
		go func() {
			defer others.Done()
			for !stop.Load() {
				l.Acquire()
				runtime.Gosched()
				l.Release()
			}
		}()
	}
	for range 50 {
		start := time.Now()
		switch got := l.AcquireTimed(timeout.Microseconds()); got {
		case Acquired:
			l.Release()
		case Failure:
			if took := time.Since(start); took < timeout {
				t.Errorf("failure after %v", took)
			}
		default:
			t.Errorf("AcquireTimed() = %v", got)
		}
	}
	stop.Store(true)
	others.Wait()
	checkFree(t, &l)
}

func TestBriefTimedAcquireTakesALockThatBecomesFree(t *testing.T) {
	for tries := 1; ; tries++ {
		l := heldLock()
		releaser := Start(l.Release)
		got := l.acquire(brief, nil)
		releaser.Join()
		if got == Acquired {
			break
		}
		if tries == 10_000 {
			t.Fatal("never")
		}
	}
}

func TestBriefTimedAcquireIsInterrupted(t *testing.T) {
	l := heldLock()
	if got := l.acquire(brief, done().Done()); got != Interrupted {
		t.Errorf("acquire() = %v, want %v", got, Interrupted)
	}
	l.Release()
	if got := l.acquire(brief, done().Done()); got != Acquired {
		t.Errorf("acquire() of a free lock = %v, want %v", got, Acquired)
	}
}

func TestCancelledContextInterruptsTheWait(t *testing.T) {
	l := heldLock()
	ctx, cancel := context.WithCancel(context.Background())
	waiter := Start(func() {
		if got := l.AcquireContext(ctx); got != Interrupted {
			t.Errorf("AcquireContext() = %v, want %v", got, Interrupted)
		}
	})
	untilQueued(t, l, 1)
	cancel()
	waiter.Join()
	l.Release()
	checkFree(t, l)
}

func TestContextsDeadlineInterruptsTheWait(t *testing.T) {
	l := heldLock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if got := l.AcquireContext(ctx); got != Interrupted {
		t.Errorf("AcquireContext() = %v, want %v", got, Interrupted)
	}
}

func TestInterruptRunsPending(t *testing.T) {
	failure := errors.New("failure")
	for _, c := range []struct {
		name    string
		timeout time.Duration
		results []error // of pending, in turn
	}{
		{"error ends an endless wait", -1, []error{failure}},
		{"error ends a timed wait", time.Hour, []error{failure}},
		{"wait goes on until there is an error", time.Hour, []error{nil, nil, failure}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := heldLock()
			calls := make(chan int)
			waiter := Start(func() {
				n := 0
				status, err := l.AcquireWithRetries(c.timeout, func() error {
					n++
					calls <- n
					return c.results[n-1]
				})
				if status != Interrupted || err != failure {
					t.Errorf("AcquireWithRetries() = %v, %v, want %v, %v", status, err, Interrupted, failure)
				}
			})
			for want := 1; want <= len(c.results); want++ {
				untilQueued(t, l, 1)
				Interrupt()
				if got := <-calls; got != want {
					t.Errorf("call %d of pending, want %d", got, want)
				}
			}
			waiter.Join()
			l.Release()
			checkFree(t, l)
		})
	}
}

func TestInterruptWhilePendingRunsIsNotLost(t *testing.T) {
	l := heldLock()
	failure := errors.New("failure")
	n := 0
	waiter := Start(func() {
		l.AcquireWithRetries(-1, func() error {
			if n++; n == 1 {
				Interrupt() // comes after pending has looked for work
				return nil
			}
			return failure
		})
	})
	untilQueued(t, l, 1)
	Interrupt()
	waiter.Join()
	if n != 2 {
		t.Errorf("pending was called %d times, want 2", n)
	}
}

func TestPendingRunsWithoutTheLock(t *testing.T) {
	l := heldLock()
	waiter := Start(func() {
		status, err := l.AcquireWithRetries(-1, func() error {
			l.Release()
			return nil
		})
		if status != Acquired || err != nil {
			t.Errorf("AcquireWithRetries() = %v, %v", status, err)
		}
	})
	untilQueued(t, l, 1)
	Interrupt()
	waiter.Join()
	l.Release()
	checkFree(t, l)
}

func TestInterruptedWaitKeepsItsDeadline(t *testing.T) {
	const timeout = 20 * time.Millisecond
	for name, pending := range map[string]func() error{
		"nil pending":  nil,
		"nothing done": func() error { return nil },
		"slow pending": func() error { time.Sleep(timeout / 3); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			l := heldLock()
			stop := make(chan struct{})
			interrupter := Start(func() {
				for {
					select {
					case <-stop:
						return
					default:
						Interrupt()
						time.Sleep(100 * time.Microsecond)
					}
				}
			})
			start := time.Now()
			status, err := l.AcquireWithRetries(timeout, pending)
			if took := time.Since(start); status != Failure || err != nil || took < timeout {
				t.Errorf("AcquireWithRetries() = %v, %v after %v", status, err, took)
			}
			close(stop)
			interrupter.Join()
		})
	}
}

func TestInterruptLeavesOtherWaitsAlone(t *testing.T) {
	l := heldLock()
	var all sync.WaitGroup
	for _, acquire := range []func() LockStatus{
		func() LockStatus { l.Acquire(); return Acquired },
		func() LockStatus { return l.AcquireTimed(TimeoutMax) },
		func() LockStatus { return l.AcquireContext(context.Background()) },
	} {
		all.Add(1)
		go func() {
			defer all.Done()
			if got := acquire(); got != Acquired {
				t.Errorf("interrupted wait: %v", got)
			}
			l.Release()
		}()
	}
	untilQueued(t, l, 3)
	Interrupt()
	l.Release()
	all.Wait()
	checkFree(t, l)
}

func TestWaitersAreWokenInOrder(t *testing.T) {
	l := heldLock()
	var got []int
	var all sync.WaitGroup
	for i := range 10 {
		all.Add(1)
		go func() {
			defer all.Done()
			l.Acquire()
			got = append(got, i)
			l.Release()
		}()
		untilQueued(t, l, i+1)
	}
	l.Release()
	all.Wait()
	for i, who := range got {
		if i != who {
			t.Fatalf("acquired in order %v", got)
		}
	}
}

func TestOldWaiterThatLosesIsPassedTheLock(t *testing.T) {
	l := heldLock()
	w, young := agedWaiter(true), agedWaiter(false)
	l.enqueue(w)
	l.enqueue(young)
	l.Release() // wakes w
	<-w.token
	w.awake = true // as wait does
	if !l.TryAcquire() {
		t.Fatal("a lock whose waiter is being woken could not be taken")
	}
	if l.enqueue(w) {
		t.Fatal("the waiter got a held lock")
	}
	if l.first != w {
		t.Error("the waiter that lost is not the first again")
	}
	l.Release()
	if l.TryAcquire() {
		t.Error("lock was not passed on")
	}
	if <-w.token; !w.granted {
		t.Error("the old waiter was woken without the lock")
	}
	l.Release() // the next one is not old
	if <-young.token; young.granted {
		t.Error("the lock was passed to the young waiter too")
	}
}

func TestLockIsNotPassedOnOnceAllWaitersHaveLeft(t *testing.T) {
	// A release has seen handoff, but calls pass only after the waiter has left.
	l := heldLock()
	w := agedWaiter(true)
	w.awake, l.awake = true, true // as if w had been woken and lost the lock
	l.enqueue(w)
	if l.state.Load()&handoff == 0 {
		t.Fatal("an old waiter that lost has not asked for the hand-off")
	}
	if l.leave(w) {
		t.Fatal("a waiter that left has the lock of another")
	}
	if l.pass() {
		t.Error("the lock was passed on without a waiter")
	}
	l.Release()
	checkFree(t, l)
}

// agedWaiter returns a waiter that is old, or one that does not get old before the
// test ends.
func agedWaiter(old bool) *waiter {
	w := newWaiter()
	if !old {
		w.since = time.Now().Add(time.Hour)
	}
	return w
}

func TestBusyNeighboursDoNotStarveAWaiter(t *testing.T) {
	var l Lock
	checkNeighbours(l.Acquire, l.Release)
	checkFree(t, &l)
}

func TestCounterUnderMixedAcquiresComesOutExact(t *testing.T) {
	checkCounter(t, []int{2, 3, 4, 8, 16, 32, 64}, func() (func(*rand.Rand) LockStatus, func(), func()) {
		l := new(Lock)
		return func(random *rand.Rand) LockStatus { return acquireSomehow(l, random) },
			l.Release, func() { checkFree(t, l) }
	})
}

// acquireSomehow acquires in a random way, mostly in a quick one.
func acquireSomehow(l *Lock, random *rand.Rand) LockStatus {
	switch random.IntN(20) {
	case 0:
		return l.AcquireTimed(random.Int64N(100))
	case 1:
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.IntN(100_000)))
		defer cancel()
		return l.AcquireContext(ctx)
	case 2:
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go cancel()
		return l.AcquireContext(ctx)
	case 3:
		if random.IntN(10) == 0 {
			Interrupt()
		}
		status, _ := l.AcquireWithRetries(time.Duration(random.IntN(100_000)), func() error {
			return []error{nil, context.Canceled}[random.IntN(2)]
		})
		return status
	case 4, 5, 6:
		return try(l)
	default:
		l.Acquire()
		return Acquired
	}
}

func TestCancelRacingReleaseLosesNoLock(t *testing.T) {
	rounds := 20_000
	if testing.Short() {
		rounds /= 20
	}
	l := new(Lock)
	outcomes := map[LockStatus]int{}
	for i := range rounds {
		l.Acquire()
		ctx, cancel := context.WithCancel(context.Background())
		waiter := StartWith(func(*Handle) { panic(l.AcquireContext(ctx)) })
		if i%2 == 0 {
			for l.state.Load()&queued == 0 {
				runtime.Gosched()
			}
		}
		var canceller *Handle
		if i%4 < 2 {
			canceller = Start(cancel)
			l.Release()
		} else {
			releaser := Start(l.Release)
			canceller = Start(cancel)
			releaser.Join()
		}
		status := waiter.Join().(LockStatus)
		outcomes[status]++
		if status == Acquired {
			l.Release()
		}
		canceller.Join()
		if checkFree(t, l); t.Failed() {
			t.Fatalf("after an acquire that was %v", status)
		}
	}
	t.Log(outcomes)
}

func TestLockStatusString(t *testing.T) {
	for status, want := range map[LockStatus]string{
		Failure: "failure", Acquired: "acquired", Interrupted: "interrupted", 7: "LockStatus(7)",
	} {
		if got := status.String(); got != want {
			t.Errorf("LockStatus(%d).String() = %q, want %q", int(status), got, want)
		}
	}
}
