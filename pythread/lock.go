package pythread

import (
	"context"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// LockStatus is the outcome of an acquire that may end without the lock.
//
// It stands for CPython's PyLockStatus (3.2), with the same numbers.
type LockStatus int

const (
	Failure     LockStatus = 0 // the lock was not free in time
	Acquired    LockStatus = 1 // the caller has the lock
	Interrupted LockStatus = 2 // the wait was called off first
)

// String returns the name in lower case.
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
// it must not be copied once used. All methods are safe for concurrent use, and
// what happens before a Release happens before the return of the acquire that
// gets the lock next. Waiters are not served in strict order, but none waits
// for ever while others come and go: once a waiter is 1 ms old and finds the
// lock taken again, it is the next to have it.
//
// It stands for CPython's PyThread_type_lock. PyThread_allocate_lock and
// PyThread_free_lock have no counterpart: a Lock is a plain value.
type Lock struct {
	// How it works. An acquire or a release that meets nobody is a single
	// compare-and-swap of state. A goroutine that cannot have the lock becomes
	// a waiter: it queues, and sleeps on a channel of its own. A release that
	// finds a queue frees the lock and wakes the first waiter. That waiter has
	// to compete with the goroutines that are running already; they keep the
	// lock busy while the waiter is scheduled. A waiter that loses goes back to
	// the front of the queue and will be the next to be woken. So that it does
	// not lose for ever, a waiter that loses when it is old asks for the
	// hand-off: releases then pass the lock on without freeing it, until the
	// first in the queue is not old.
	//
	// The bits of state:
	//
	//	held     somebody has the lock
	//	queued   the release of the lock wakes the first waiter
	//	handoff  the release of the lock passes it to the first waiter
	//
	// The lock is free exactly if state is 0. A free lock bears no trace of its
	// waiters, and while one is awake a held lock need not either: so others
	// acquire and release at full speed in the microseconds that the waiter
	// needs to get going.
	//
	// Three rules hold whenever nobody is in the middle of a step. A step is
	// one change of state by a goroutine that does not have mu, or all that is
	// done under mu.
	//
	//  1. handoff is set only with queued, queued only with held, and only
	//     while there is a waiter in the queue.
	//  2. Where there is a queue, somebody is going to look after it, so no
	//     wake-up is lost. It is the next release, if queued is set; or a
	//     release that has cleared queued and has yet to call wake; or the
	//     waiter that is awake. Each hands this duty on: the release takes it
	//     over in the step that clears queued; wake gives it to the waiter that
	//     it wakes, or leaves it with the one that is awake; and a waiter that
	//     is awake ends in settle, whether it takes the lock, queues again or
	//     leaves, and settle sets queued again if there is a queue.
	//  3. A waiter that another goroutine takes off the queue gets one token in
	//     the same step, and does not go on without receiving it. So it knows
	//     whether the token is the lock, and a lock passed on is not lost.
	//
	// Who changes what. Without mu, an acquire sets held if state is 0, and a
	// release sets state to 0. All else is done under mu: only there are queued
	// and handoff set.
	//
	// Memory order. An atomic that sees the effect of another comes after it,
	// in Go. Every change of state is a read-modify-write, so the one that sets
	// held has seen, directly or through others, the one that cleared it, and
	// what was done under the lock before is visible. A lock that is passed on
	// goes through a channel, with the same effect.
	state atomic.Uint32

	mu          sync.Mutex // guards what follows, for a few instructions at a time
	awake       bool       // a waiter woken without the lock has not settled yet
	first, last *waiter    // the queue
}

const (
	held = 1 << iota
	queued
	handoff
)

// patience is the age at which a waiter is old. A lock that is passed on lies
// idle until the waiter runs: in those microseconds it could have changed hands
// a hundred times. So passing on is for exceptions.
const patience = time.Millisecond

// brief is the longest timeout that is not slept: to sleep and be woken by a
// timer takes more of the processor's time than that, and ends much too late.
const brief = 20 * time.Microsecond

// spins is how often an acquire looks at a held lock again before it queues:
// for about as long as a short critical section takes, and much less than it
// costs to sleep.
const spins = 30

// waiter is one goroutine's place in a lock's queue.
type waiter struct {
	token chan struct{} // capacity 1, so that sending never blocks
	since time.Time     // when the wait began
	timer *time.Timer   // nil, or kept for the next timed wait

	// Guarded by the lock's mu.
	next, prev *waiter
	inQueue    bool

	granted bool // the token is the lock; written before it is sent
	awake   bool // woken, and not settled; the waiting goroutine's own
}

func (w *waiter) old() bool { return time.Since(w.since) >= patience }

// waiters spares busy locks the garbage. A waiter in the pool is in no queue,
// has no token, and is neither granted nor awake.
var waiters = sync.Pool{New: func() any {
	return &waiter{token: make(chan struct{}, 1)}
}}

// Acquire waits, for ever if need be, until it has the lock.
//
// It mirrors PyThread_acquire_lock with WAIT_LOCK.
func (l *Lock) Acquire() {
	// This much is inlined into the caller.
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

// AcquireTimed waits for the lock for at least us microseconds of the
// monotonic clock and returns Acquired, or Failure if it was not free in that
// time. Zero tries without waiting, any negative us waits for ever, and more
// than [TimeoutMax] counts as TimeoutMax.
//
// It mirrors PyThread_acquire_lock_timed (3.2) with an intr_flag of 0.
func (l *Lock) AcquireTimed(us int64) LockStatus {
	if us < 0 {
		return l.acquire(-1, nil)
	}
	return l.acquire(time.Duration(min(us, TimeoutMax))*time.Microsecond, nil)
}

// AcquireContext waits until it has the lock and returns Acquired, or until
// ctx is done and returns Interrupted. The lock comes first: where it is to
// be had the outcome is Acquired, even if ctx was done before.
//
// It mirrors PyThread_acquire_lock_timed (3.2) with an intr_flag of 1, where
// a signal to the thread does what the end of ctx does here.
func (l *Lock) AcquireContext(ctx context.Context) LockStatus {
	return l.acquire(-1, ctx.Done())
}

// AcquireWithRetries waits for the lock for at least timeout and returns
// Acquired, or Failure if it was not free in that time. A timeout of zero
// tries without waiting, a negative one waits for ever.
//
// Every [Interrupt] during the wait has it call pending, on this goroutine and
// without the lock, unless pending is nil. If that returns an error, the wait
// ends with Interrupted and that error; else it goes on for what is left of
// the timeout. In all other cases the error is nil.
//
// It mirrors PyThread_acquire_lock_timed_with_retries (3.13), where a signal
// interrupts the wait, pending runs the interpreter's pending calls, and the
// timeout is in nanoseconds as well.
func (l *Lock) AcquireWithRetries(timeout time.Duration, pending func() error) (LockStatus, error) {
	start := time.Now()
	left := timeout
	interrupted := *interruption.Load()
	for {
		status := l.acquire(left, interrupted)
		if status != Interrupted {
			return status, nil
		}
		// The next channel is taken before pending looks at what there is to
		// do: an Interrupt that comes too late for pending ends the next wait.
		interrupted = *interruption.Load()
		if pending != nil {
			if err := pending(); err != nil {
				return Interrupted, err
			}
		}
		if timeout > 0 {
			// At zero the lock gets its last try.
			left = max(0, timeout-time.Since(start))
		}
	}
}

// interruption is closed by the next Interrupt.
var interruption atomic.Pointer[chan struct{}]

func init() { interruption.Store(newInterruption()) }

func newInterruption() *chan struct{} {
	c := make(chan struct{})
	return &c
}

// Interrupt interrupts every [Lock.AcquireWithRetries] that is waiting, on
// whichever lock, for its pending function to be called. Acquires of other
// kinds wait on. It does not block and may be called from any goroutine.
//
// Goroutines receive no signals: this is how a program that has received one,
// or has other work for its waiting threads, tells them to look. In CPython
// the signal itself ends the wait of the thread that handles it.
func Interrupt() {
	// Each channel is swapped out once, so no two calls close the same one.
	close(*interruption.Swap(newInterruption()))
}

// Release frees the lock, whoever acquired it. It panics if the lock is free
// already, and then leaves it free. It does not block.
//
// It mirrors PyThread_release_lock, which does not tell of a free lock.
func (l *Lock) Release() {
	// This publishes what was done under the lock to the acquire that sets held
	// next.
	if !l.state.CompareAndSwap(held, 0) {
		l.release()
	}
}

// acquire gets the lock, or gives up when timeout has passed (with Failure;
// if it is negative, never; if zero, at once) or when cancel can be received
// from (with Interrupted).
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
		return l.poll(timeout, cancel)
	}
	return l.wait(timeout, cancel)
}

// poll is acquire for a brief timeout. Other goroutines run in the meantime.
func (l *Lock) poll(timeout time.Duration, cancel <-chan struct{}) LockStatus {
	for start := time.Now(); ; {
		runtime.Gosched()
		if l.TryAcquire() {
			return Acquired
		}
		select {
		case <-cancel:
			return Interrupted
		default:
		}
		if time.Since(start) >= timeout {
			return Failure
		}
	}
}

// wait is acquire for a timeout that is not zero, where the lock is not free.
func (l *Lock) wait(timeout time.Duration, cancel <-chan struct{}) LockStatus {
	w := waiters.Get().(*waiter)
	w.since = time.Now()
	// One timer serves however often the wait is resumed. It is set after the
	// call, so it cannot end the wait too early.
	var expired <-chan time.Time
	if timeout > 0 {
		expired = w.setTimer(timeout)
	}
	end, status := Acquired, Acquired
	for !l.enqueue(w) {
		end = w.sleep(expired, cancel)
		if end == Acquired && !w.granted {
			w.awake = true
			continue
		}
		if end != Acquired && !l.leave(w) {
			status = end
		}
		break
	}
	if timeout > 0 && !w.timer.Stop() && end != Failure {
		// The timer has fired unheard. Where GODEBUG says asynctimerchan=1,
		// its channel would end another wait too early.
		w.timer = nil
	}
	w.granted = false
	waiters.Put(w)
	return status
}

// sleep waits for w's token and returns Acquired, or for expired and returns
// Failure, or for cancel and returns Interrupted.
func (w *waiter) sleep(expired <-chan time.Time, cancel <-chan struct{}) LockStatus {
	if expired == nil && cancel == nil {
		<-w.token // the same as below, in half the time
		return Acquired
	}
	select {
	case <-w.token:
		return Acquired
	case <-expired:
		return Failure
	case <-cancel:
		return Interrupted
	}
}

// setTimer returns the channel that can be received from after timeout.
func (w *waiter) setTimer(timeout time.Duration) <-chan time.Time {
	if w.timer == nil {
		w.timer = time.NewTimer(timeout)
	} else {
		w.timer.Reset(timeout)
	}
	return w.timer.C
}

// release is Release where state is not simply held.
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

// wake wakes the first waiter, if there is one and none is awake.
func (l *Lock) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil || l.awake {
		return
	}
	l.awake = true
	l.pop().token <- struct{}{}
}

// pass hands the caller's lock to the first waiter and reports whether it did:
// not if the hand-off is off, because all who waited have left.
func (l *Lock) pass() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.Load()&handoff == 0 {
		return false
	}
	w := l.pop()
	if l.first != nil && !l.first.old() {
		l.state.And(^uint32(handoff)) // but held stays, for w now
	}
	w.granted = true
	w.token <- struct{}{}
	return true
}

// enqueue takes the lock for w if it is free, else queues w, at the front if
// it has been there before. It reports whether w has the lock.
func (l *Lock) enqueue(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settle(w, true)
}

// leave ends w's wait, queued or awake, and reports whether w has the lock: it
// has if the lock was passed to it just before, or was free just now.
func (l *Lock) leave(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !w.inQueue {
		<-w.token // sent under mu, so it is there
		if w.granted {
			return true
		}
		w.awake = true
	}
	return l.settle(w, false)
}

// settle takes the lock for w if it is free and reports whether it was. If
// not, w is in the queue afterwards if it stays and out of it if not. If w was
// awake, it has handed on its duty to look after the queue. The caller holds
// mu.
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
		// The lock is held afterwards in any case: by w, or by who had it.
		n := s | held
		switch {
		case queues && w.awake && w.old():
			n |= queued | handoff
		case !queues && l.first == nil:
			n = held // there is no queue any more
		case !l.awake:
			n |= queued
		}
		if !l.state.CompareAndSwap(s, n) {
			continue
		}
		if queues {
			// The holder may release before w is linked in; but then it
			// waits for mu before it looks for w.
			l.push(w)
		}
		w.awake = false
		return free
	}
}

// push links w into the queue: at the front if it is awake and so has stood
// there before, else at the back. The caller holds mu.
func (l *Lock) push(w *waiter) {
	w.inQueue = true
	switch {
	case l.first == nil:
		l.first, l.last = w, w
	case w.awake:
		w.next, l.first.prev = l.first, w
		l.first = w
	default:
		w.prev, l.last.next = l.last, w
		l.last = w
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

// remove takes w off the queue. The caller holds mu.
func (l *Lock) remove(w *waiter) {
	if w.prev == nil {
		l.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.next, w.prev, w.inQueue = nil, nil, false
}
