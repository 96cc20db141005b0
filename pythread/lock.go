package pythread

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// LockStatus is the result of an acquire that may end without the lock.
//
// It stands for CPython's PyLockStatus (3.2), with the same numbers.
type LockStatus int

const (
	Failure     LockStatus = 0 // the lock was not free in time
	Acquired    LockStatus = 1 // the caller has the lock
	Interrupted LockStatus = 2 // the wait was interrupted first
)

// String returns the status's name in lower case.
func (s LockStatus) String() string {
	switch s {
	case Failure:
		return "failure"
	case Acquired:
		return "acquired"
	case Interrupted:
		return "interrupted"
	}
	return "LockStatus(" + strconv.Itoa(int(s)) + ")"
}

// Lock is CPython's lock: a binary semaphore, which starts out free.
//
// A lock has no owner: any goroutine may release it, and a goroutine that
// acquires it twice waits for another's release. The zero Lock is ready to use;
// it must not be copied once used. All methods are safe for concurrent use.
// What happens before a Release happens before the return of the acquire that
// gets the lock next. Waiters do not get the lock in strict order, but none waits
// for ever while others come and go: a waiter that has waited for 1 ms and finds
// the lock taken again is the next to get it.
//
// It stands for CPython's PyThread_type_lock. PyThread_allocate_lock and
// PyThread_free_lock have no counterpart: a Lock is a plain value.
type Lock struct {
	// How it works. An acquire or a release without contention is a single
	// compare-and-swap of state. A goroutine that finds the lock held becomes a
	// waiter: it queues, and sleeps on a channel of its own. A release that
	// finds a queue frees the lock and wakes the first waiter. While the waiter
	// is scheduled, goroutines that run already may take the lock. A waiter that
	// finds the lock taken goes back to the front of the queue, and is the next
	// to be woken. If such a waiter is old, it asks for the hand-off, so that it
	// does not wait for ever. Then releases pass the lock on without freeing it,
	// until the first waiter in the queue is not old.
	//
	// The bits of state:
	//
	//	held     a goroutine has the lock
	//	queued   the release of the lock wakes the first waiter
	//	handoff  the release of the lock passes it to the first waiter
	//
	// The lock is free exactly if state is 0. So state does not say whether a
	// free lock has waiters. The state of a held lock need not say it either
	// while a waiter is awake. So other goroutines acquire and release at full
	// speed in the microseconds before the waiter runs.
	//
	// Three rules hold whenever no goroutine is in the middle of a step. A step
	// is one change of state by a goroutine that does not hold mu, or all that
	// a goroutine does while it holds mu.
	//
	//  1. handoff is set only with queued, and queued only with held. Both are
	//     set only while a waiter is in the queue.
	//  2. If a waiter is in the queue, some goroutine has the duty to look after
	//     the queue. So no wake-up is lost. If queued is set, the next release
	//     has the duty. Otherwise a release that has cleared queued, and has not
	//     called wake yet, has it, or a waiter that is awake. The duty is always
	//     handed on. A release takes it over in the step that clears queued.
	//     wake gives it to the waiter that wake wakes, or leaves it to the waiter
	//     that is awake already. A waiter that is awake calls settle, whether it
	//     takes the lock, queues again or leaves. settle sets queued if a waiter
	//     is in the queue.
	//  3. A waiter that another goroutine takes off the queue gets one token in
	//     the same step, and does not go on before it has received the token.
	//     The field granted says whether the token is the lock. So a lock that is
	//     passed on is not lost.
	//
	// A goroutine that does not hold mu makes only two changes of state: an
	// acquire sets held if state is 0, and a release sets state to 0. All other
	// changes happen under mu; only there are queued and handoff set.
	//
	// Memory order. In Go an atomic operation that sees the effect of another
	// happens after it. Every change of state is a read-modify-write. So the
	// operation that sets held has seen, directly or through others, the one
	// that cleared held. All that was done under the lock before is visible. A
	// lock that is passed on goes through a channel, with the same effect.
	state atomic.Uint32

	mu sync.Mutex // guards the queue, for a few instructions at a time
	queue
}

const (
	held = 1 << iota
	queued
	handoff
)

// spins is how often an acquire looks at a held lock again before it queues. This
// takes about as long as a short critical section, and much less than a sleep.
const spins = 30

// Acquire waits, without limit, until it has the lock.
//
// It mirrors PyThread_acquire_lock with WAIT_LOCK.
func (l *Lock) Acquire() {
	// The compiler inlines this into the caller.
	if !l.TryAcquire() {
		l.acquire(-1, nil)
	}
}

// TryAcquire takes the lock if it is free and reports whether it did. It does
// not wait.
//
// It mirrors PyThread_acquire_lock with NOWAIT_LOCK.
func (l *Lock) TryAcquire() bool {
	// A success has seen the 0 of the release before and is ordered after it.
	return l.state.CompareAndSwap(0, held)
}

// AcquireTimed waits for the lock for at least us microseconds of the monotonic
// clock. It returns Acquired, or Failure if the lock was not free in that time.
// Zero tries once, any negative us waits without limit, and more than [TimeoutMax]
// counts as TimeoutMax.
//
// It mirrors PyThread_acquire_lock_timed (3.2) with an intr_flag of 0.
func (l *Lock) AcquireTimed(us int64) LockStatus {
	return l.acquire(microseconds(us), nil)
}

// AcquireContext waits until it has the lock and returns Acquired, or until
// ctx is done and returns Interrupted. If the lock is free, the result is
// Acquired, even if ctx was done before the call.
//
// It mirrors PyThread_acquire_lock_timed (3.2) with an intr_flag of 1. There a
// signal to the thread ends the wait, as the end of ctx does here.
func (l *Lock) AcquireContext(ctx context.Context) LockStatus {
	return l.acquire(-1, ctx.Done())
}

// AcquireWithRetries waits for the lock for at least timeout. It returns Acquired,
// or Failure if the lock was not free in that time. A timeout of zero tries once,
// a negative one waits without limit.
//
// At every [Interrupt] during the wait, AcquireWithRetries calls pending, unless
// pending is nil. The call is on this goroutine, which does not have the lock. If
// pending returns an error, the wait ends with Interrupted and that error. If not,
// the wait goes on for the rest of the timeout. In all other cases the error is
// nil.
//
// It mirrors PyThread_acquire_lock_timed_with_retries (3.13). There a signal
// interrupts the wait, and the wait runs the interpreter's pending calls. The
// timeout is in nanoseconds too.
func (l *Lock) AcquireWithRetries(timeout time.Duration, pending func() error) (LockStatus, error) {
	if l.TryAcquire() {
		return Acquired, nil
	}
	if timeout == 0 {
		return Failure, nil
	}
	start := time.Now()
	var own chan struct{} // nil outside of bubbles
	if b := bubble(start); b != "" {
		own = make(chan struct{}, 1)
		bubbled.Store(own, b)
		defer bubbled.Delete(own)
	}
	// next returns the channel by which the next Interrupt ends a wait.
	next := func() <-chan struct{} {
		if own != nil {
			return own
		}
		return *interruption.Load()
	}
	interrupted := next()
	for left := timeout; ; {
		status := l.acquire(left, interrupted)
		if status != Interrupted {
			return status, nil
		}
		// Load the next channel before pending looks for work. So an Interrupt
		// that comes too late for pending ends the next wait.
		interrupted = next()
		if pending != nil {
			if err := pending(); err != nil {
				return Interrupted, err
			}
		}
		if timeout > 0 {
			// With zero, acquire tries the lock one last time.
			left = max(0, timeout-time.Since(start))
		}
	}
}

// interruption is the channel that the next Interrupt closes, outside of bubbles.
var interruption atomic.Pointer[chan struct{}]

func init() { interruption.Store(newInterruption()) }

func newInterruption() *chan struct{} {
	c := make(chan struct{})
	return &c
}

// bubbled has an entry for each AcquireWithRetries in a bubble. It maps the channel
// to which Interrupt sends, of capacity 1, to the bubble.
var bubbled sync.Map // of chan struct{} to string

// Interrupt makes every [Lock.AcquireWithRetries] that waits, on any lock, call its
// pending function. Other kinds of acquire are not interrupted. Interrupt does not
// block and may be called from any goroutine. In a bubble of [testing/synctest] it
// interrupts the waits in that bubble. Outside of bubbles it interrupts the waits
// outside.
//
// A goroutine receives no signals. So a program that has received a signal, or has
// other work for its waiting threads, calls Interrupt. CPython has no counterpart,
// because there the signal itself interrupts the wait of the thread that handles it.
func Interrupt() {
	here := bubble(time.Now())
	if here == "" {
		// Each channel is swapped out once, so no two calls close the same one.
		close(*interruption.Swap(newInterruption()))
		return
	}
	for own, b := range bubbled.Range {
		if b != here {
			continue // a send to another bubble would end the process
		}
		select {
		case own.(chan struct{}) <- struct{}{}:
		default: // The wait has not seen the last Interrupt yet. One is enough for both.
		}
	}
}

// Release frees the lock, which any goroutine may have acquired. If the lock is
// free already, Release panics and leaves it free. Release does not block.
//
// It mirrors PyThread_release_lock.
func (l *Lock) Release() {
	// This publishes what was done under the lock to the acquire that sets held
	// next.
	if !l.state.CompareAndSwap(held, 0) {
		l.release()
	}
}

// acquire waits for the lock. It returns Failure when timeout has passed, at once
// if timeout is zero and never if timeout is negative. It returns Interrupted when
// cancel is ready.
func (l *Lock) acquire(timeout time.Duration, cancel <-chan struct{}) LockStatus {
	if l.TryAcquire() {
		return Acquired
	}
	if timeout == 0 {
		return Failure
	}
	for range spins {
		if l.state.Load() == 0 && l.TryAcquire() {
			return Acquired
		}
	}
	if 0 < timeout && timeout <= brief {
		return poll(l, timeout, cancel)
	}
	return wait(l, timeout, cancel)
}

func (l *Lock) try() bool { return l.TryAcquire() }

// release is the part of Release for a state that is not simply held.
func (l *Lock) release() {
	if l.free() {
		l.wake()
	}
}

// free clears state, or passes the lock on, and reports whether the caller has
// to call wake.
func (l *Lock) free() bool {
	for {
		s := l.state.Load()
		switch {
		case s == 0:
			panic("pythread: Release of a Lock that is free")
		case s&handoff != 0:
			if l.pass() {
				return false
			}
		case l.state.CompareAndSwap(s, 0):
			return s&queued != 0
		}
	}
}

// wake wakes the first waiter, if there is one and no waiter is awake.
func (l *Lock) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil || l.awake {
		return
	}
	l.awake = true
	l.pop().token <- struct{}{}
}

// pass hands the caller's lock to the first waiter and reports whether it did.
// It does not if handoff is no longer set, because all waiters have left.
func (l *Lock) pass() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.Load()&handoff == 0 {
		return false
	}
	w := l.pop()
	if l.first != nil && !l.first.old() {
		l.state.And(^uint32(handoff)) // held stays set: now w holds the lock
	}
	w.granted = true
	w.token <- struct{}{}
	return true
}

func (l *Lock) enqueue(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settle(w, true)
}

func (l *Lock) leave(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !w.inQueue {
		<-w.token // this does not wait: the token was sent under mu
		if w.granted {
			return true
		}
		w.awake = true
	}
	return l.settle(w, false)
}

// settle takes the lock for w if the lock is free, and reports whether it was free.
// If not, w is in the queue afterwards if stay is true, and else out of the queue.
// If w was awake, it has handed on its duty to look after the queue. The caller
// holds mu.
func (l *Lock) settle(w *waiter, stay bool) bool {
	if w.inQueue {
		l.remove(w)
	}
	if w.awake {
		l.awake = false
	}
	for {
		s := l.state.Load()
		free := s == 0
		queues := stay && !free
		// The lock is held afterwards in any case: by w, or by its holder.
		n := s | held
		switch {
		case queues && w.awake && w.old():
			n |= queued | handoff
		case !queues && l.first == nil:
			n = held // the queue is empty
		case !l.awake:
			n |= queued
		}
		if !l.state.CompareAndSwap(s, n) {
			continue
		}
		if queues {
			// The holder may release before w is in the queue. But then its
			// release waits for mu before it looks at the queue.
			l.push(w)
		}
		w.awake = false
		return free
	}
}

// pop takes the first off the queue, which is not empty. The caller holds mu.
func (l *Lock) pop() *waiter {
	w := l.first
	l.remove(w)
	if l.first == nil {
		l.state.And(^uint32(queued | handoff))
	}
	return w
}
