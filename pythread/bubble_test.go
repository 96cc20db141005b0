//go:build go1.25

package pythread

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// endlessWaits are all the ways to wait for a lock that is held, or for a thread
// that runs.
var endlessWaits = []struct {
	name string
	wait func(l *Lock, h *Handle)
}{
	{"Acquire", func(l *Lock, _ *Handle) { l.Acquire() }},
	{"AcquireTimed for ever", func(l *Lock, _ *Handle) { l.AcquireTimed(-1) }},
	{"AcquireContext", func(l *Lock, _ *Handle) { l.AcquireContext(context.Background()) }},
	{"AcquireContext that can be cancelled", func(l *Lock, _ *Handle) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		l.AcquireContext(ctx)
	}},
	{"AcquireWithRetries", func(l *Lock, _ *Handle) { l.AcquireWithRetries(-1, nil) }},
	{"Join", func(_ *Lock, h *Handle) { h.Join() }},
	{"Done", func(_ *Lock, h *Handle) { <-h.Done() }},
}

func TestWaitInABubbleIsDurable(t *testing.T) {
	for _, w := range endlessWaits {
		t.Run(w.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := heldLock()
				end := make(chan struct{})
				h := Start(func() { <-end })
				waited := false
				waiter := Start(func() {
					w.wait(l, h)
					waited = true
				})
				// Unless the wait is durable, neither of these returns.
				synctest.Wait()
				time.Sleep(time.Hour)
				if waited {
					t.Error("the wait is over too early")
				}
				l.Release()
				close(end)
				waiter.Join()
			})
		})
	}
}

func TestWaitInABubbleTakesTheTimeOfTheBubble(t *testing.T) {
	for _, timeout := range []time.Duration{time.Microsecond, brief, time.Millisecond, time.Hour} {
		for name, acquire := range map[string]func(l *Lock) LockStatus{
			"AcquireTimed":       func(l *Lock) LockStatus { return l.AcquireTimed(timeout.Microseconds()) },
			"AcquireWithRetries": retries(timeout),
			"AcquireContext": func(l *Lock) LockStatus {
				ctx, cancel := context.WithTimeout(context.Background(), timeout)
				defer cancel()
				if got := l.AcquireContext(ctx); got != Interrupted {
					return got
				}
				return Failure
			},
		} {
			t.Run(fmt.Sprint(name, timeout), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := heldLock()
					start := time.Now()
					if got := acquire(l); got != Failure {
						t.Errorf("acquire of a held lock: %v", got)
					}
					if took := time.Since(start); took != timeout {
						t.Errorf("took %v, want %v", took, timeout)
					}
					l.Release()
					checkFree(t, l)
				})
			})
		}
	}
}

// useAll waits in every way; the waits that nothing else ends take as long as wait.
func useAll(t *testing.T, wait time.Duration) {
	l := heldLock()
	if got := l.AcquireTimed(wait.Microseconds()); got != Failure {
		t.Errorf("AcquireTimed() = %v", got)
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	if got := l.AcquireContext(ctx); got != Interrupted {
		t.Errorf("AcquireContext() = %v", got)
	}
	timed := func() { l.AcquireTimed(TimeoutMax); l.Release() }
	endless := func() { l.Acquire(); l.Release() }
	retried := func() { l.AcquireWithRetries(math.MaxInt64, nil); l.Release() }
	var handles []*Handle
	for range 3 {
		handles = append(handles, Start(timed), Start(endless), Start(retried))
	}
	untilQueued(t, l, len(handles))
	Interrupt()
	l.Release()
	for i, h := range handles {
		if i%2 == 0 {
			<-h.Done()
		}
		h.Join()
	}
	checkFree(t, l)
	var tss TSS[int]
	StartWith(func(h *Handle) {
		tss.Set(h, 1)
		if got, _ := tss.Get(h); got != 1 {
			t.Errorf("Get() = %d", got)
		}
		time.Sleep(wait)
	}).Join()
}

func TestBubblesAndTheRestTakeTurns(t *testing.T) {
	inside := func(t *testing.T) { synctest.Test(t, func(t *testing.T) { useAll(t, time.Hour) }) }
	outside := func(t *testing.T) { useAll(t, time.Millisecond) }
	// Each comes after each.
	for range 3 {
		t.Run("outside", outside)
		t.Run("bubble", inside)
		t.Run("another bubble", inside)
	}
}

func TestBubblesAtTheSameTimeDoNotMeet(t *testing.T) {
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			for range 20 {
				synctest.Test(t, func(t *testing.T) { useAll(t, time.Hour) })
				useAll(t, 100*time.Microsecond)
			}
		})
	}
}

func TestEndedThreadOfABubbleIsTheSameOutside(t *testing.T) {
	var m *mortal
	synctest.Test(t, func(t *testing.T) {
		m = newMortal()
		m.h.Done() // makes a channel
		close(m.die)
		m.h.Join()
	})
	check := func(t *testing.T) {
		for _, sign := range signs {
			if !sign.show(m) {
				t.Errorf("not so: %s", sign.name)
			}
		}
		m.value.Clear()
	}
	check(t)
	synctest.Test(t, check)
}

func TestLockOfOneBubbleWorksInTheNext(t *testing.T) {
	l := heldLock()
	for range 3 {
		synctest.Test(t, func(t *testing.T) {
			for _, busy := range []func() LockStatus{
				func() LockStatus { return l.AcquireTimed(time.Hour.Microseconds()) },
				func() LockStatus { return l.AcquireTimed(1) },
			} {
				if got := busy(); got != Failure {
					t.Errorf("acquire of a held lock: %v", got)
				}
			}
			waiter := Start(l.Acquire)
			synctest.Wait()
			l.Release()
			waiter.Join()
		})
	}
	l.Release()
	checkFree(t, l)
}

func TestMutexOfOneBubbleWorksInTheNext(t *testing.T) {
	m := heldMutex()
	for range 3 {
		synctest.Test(t, func(t *testing.T) {
			for _, us := range []int64{1, time.Hour.Microseconds()} {
				start := time.Now()
				if got := m.LockTimed(us); got != Failure {
					t.Errorf("lock of a locked mutex: %v", got)
				}
				if took := time.Since(start); took != time.Duration(us)*time.Microsecond {
					t.Errorf("took %v, want %d us", took, us)
				}
			}
			waiter := Start(m.Lock)
			synctest.Wait()
			time.Sleep(time.Hour) // passes at once, because the waiter is durably blocked
			m.Unlock()
			waiter.Join()
		})
	}
	m.Unlock()
	checkMutexFree(t, m)
}

func TestInterruptStaysInItsBubble(t *testing.T) {
	told := errors.New("told")
	wait := func(l *Lock) *Handle {
		h := Start(func() {
			status, err := l.AcquireWithRetries(-1, func() error { return told })
			if status == Acquired {
				l.Release()
			}
			panic(fmt.Sprint(status, " ", err))
		})
		untilQueued(t, l, 1)
		return h
	}
	const acquired, interrupted = "acquired <nil>", "interrupted told"
	check := func(h *Handle, want string) {
		t.Helper()
		if got := h.Join(); got != want {
			t.Errorf("the wait ended with %q, want %q", got, want)
		}
	}

	interrupt, done := make(chan struct{}), make(chan struct{})
	go func() {
		<-interrupt
		Interrupt()
		close(done)
	}()
	outer := heldLock()
	outside := wait(outer)
	synctest.Test(t, func(t *testing.T) {
		l := heldLock()
		inside := wait(l)
		Interrupt()
		check(inside, interrupted)
		if outer.queueLength() != 1 {
			t.Error("an Interrupt in a bubble has ended a wait outside")
		}
		inside = wait(l)
		close(interrupt)
		<-done
		l.Release()
		check(inside, acquired)
	})
	check(outside, interrupted)
}

func TestInterruptsInABubbleDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := heldLock()
		told := errors.New("told")
		n := 0
		waiter := Start(func() {
			l.AcquireWithRetries(-1, func() error {
				if n++; n > 1 {
					return told
				}
				Interrupt()
				Interrupt()
				return nil
			})
		})
		synctest.Wait()
		Interrupt()
		waiter.Join()
		if n != 2 {
			t.Errorf("pending was called %d times, want 2", n)
		}
	})
}
