package pythread

import (
	"context"
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
// It belongs to nobody: any goroutine may release it, and one that acquires
// it twice waits for another's release. The zero Lock is ready to use; it
// must not be copied once used. All methods are safe for concurrent use, and
// what happens before a Release happens before the return of the acquire that
// gets the lock next. Waiters are not served in strict order, but none waits
// for ever while others come and go: once a waiter is 1 ms old and finds the
// lock taken again, it is the next to have it.
//
// It stands for CPython's PyThread_type_lock. PyThread_allocate_lock and
// PyThread_free_lock have no counterpart: a Lock is a plain value.
type Lock struct {
	// How it works. An acquire or a release that meets nobody is a single
	// compare-and-swap of state. Who cannot have the lock queues, and sleeps
	// on a channel of its own. A release that finds a queue frees the lock
	// and wakes the first; that one has to compete with whoever is running
	// already, which keeps the lock busy while the sleeper is scheduled, and
	// goes back to the front if it loses. It then is the first to be woken
	// again, but could lose for ever: so if it is old by then it asks for
	// the hand-off, and releases pass the lock on without freeing it, until
	// the next in the queue is not old.
	//
	// The bits of state:
	//
	//	held     somebody has the lock
	//	queued   the queue is not empty
	//	woken    a release is about to wake a waiter, or one is awake
	//	handoff  the next release passes the lock to the first in the queue
	//
	// held and woken are also set without mu, the others change under mu
	// only. Three rules hold whenever nobody is in the middle of a step, a
	// step being one change of state by who does not have mu, or all that is
	// done under mu:
	//
	//  1. handoff means queued and held; queued means held or woken. So there
	//     always is somebody, the holder or the one who is awake, to look
	//     after the queue, and no wake-up is lost. For this a release of held
	//     sets woken if there is a queue and it is not set; and woken is
	//     cleared only in a step that finds or sets held, or that finds the
	//     queue empty.
	//  2. As long as woken is set, one release or one waiter owes it. The
	//     waiter settles up in every way on: taking the lock, queueing again,
	//     leaving.
	//  3. Who is taken off the queue by another gets one token, in the same
	//     step, and does not go without receiving it. So it knows whether the
	//     token is the lock, and a lock passed on is not lost.
	//
	// Memory order. An atomic that sees the effect of another comes after it,
	// in Go. Every change of state is a read-modify-write, so the one that
	// sets held has seen, directly or through others, the one that cleared
	// it, and what was done under the lock before is visible. A lock that is
	// passed on goes through a channel, with the same effect.
	state atomic.Uint32

	mu          sync.Mutex // guards the queue, for a few instructions at a time
	first, last *waiter
}

const (
	held = 1 << iota
	queued
	woken
	handoff
)

// patience is the age at which a waiter is old. Passing the lock on leaves it
// idle until the waiter runs, microseconds in which it could have changed
// hands a hundred times: that is for exceptions.
const patience = time.Millisecond

// spins is how often a held lock is looked at again before its caller queues:
// about as long as a short critical section, and well below the cost of sleep.
const spins = 30

// waiter is one goroutine's place in a lock's queue.
type waiter struct {
	token chan struct{} // capacity 1, so that sending never blocks
	since time.Time

	// Guarded by the lock's mu.
	next, prev *waiter
	inQueue    bool

	granted bool // the token is the lock; written before it is sent
	awake   bool // owes the woken bit; the waiting goroutine's own
}

func (w *waiter) old() bool { return time.Since(w.since) >= patience }

// waiters spares busy locks the garbage. Those in it have no token, and all
// their other fields are zero.
var waiters = sync.Pool{New: func() any {
	return &waiter{token: make(chan struct{}, 1)}
}}

// Acquire waits, for ever if need be, until it has the lock.
//
// It mirrors PyThread_acquire_lock with WAIT_LOCK.
func (l *Lock) Acquire() {
	// A success has seen the 0 of the Release before it and is ordered after
	// that. What follows is out of line so that this much can be inlined.
	if !l.state.CompareAndSwap(0, held) {
		l.acquire(-1, nil)
	}
}

// TryAcquire takes the lock if it is free and reports whether it did. It does
// not wait.
//
// It mirrors PyThread_acquire_lock with NOWAIT_LOCK.
func (l *Lock) TryAcquire() bool {
	return l.state.CompareAndSwap(0, held) || l.take()
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
	// This publishes what was done under the lock to the next that sets held.
	if !l.state.CompareAndSwap(held, 0) {
		l.release()
	}
}

// take sets held if nobody has and reports whether it did.
func (l *Lock) take() bool {
	for {
		s := l.state.Load()
		if s&held != 0 {
			return false
		}
		// It fails when another bit has changed too, which says nothing about
		// held: look again, for a try must not fail on a free lock.
		if l.state.CompareAndSwap(s, s|held) {
			return true
		}
	}
}

// acquire gets the lock, or gives up when timeout has passed (with Failure;
// if it is negative, never; if zero, at once) or when cancel can be received
// from (with Interrupted).
func (l *Lock) acquire(timeout time.Duration, cancel <-chan struct{}) LockStatus {
	if l.take() {
		return Acquired
	}
	if timeout == 0 {
		return Failure
	}
	for range spins {
		if l.take() {
			return Acquired
		}
	}

	// One timer serves however often the wait is resumed. It is set after the
	// call, so it cannot end the wait too early.
	var expired <-chan time.Time
	if timeout > 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		expired = timer.C
	}
	w := waiters.Get().(*waiter)
	w.since = time.Now()
	status := Acquired
	for !l.enqueue(w) {
		select {
		case <-w.token:
			if !w.granted {
				w.awake = true
				continue
			}
		case <-expired:
			status = Failure
		case <-cancel:
			status = Interrupted
		}
		if status != Acquired && l.leave(w) {
			status = Acquired
		}
		break
	}
	*w = waiter{token: w.token}
	waiters.Put(w)
	return status
}

// release is Release where state is not simply held.
func (l *Lock) release() {
	if l.free() {
		l.wake()
	}
}

// free clears held, or passes it on, and reports whether the caller has to
// wake somebody now.
func (l *Lock) free() bool {
	for {
		s := l.state.Load()
		switch {
		case s&held == 0:
			panic("pythread: Release of a Lock that is free")
		case s&handoff != 0:
			if l.pass() {
				return false
			}
		case s&(queued|woken) == queued:
			if l.state.CompareAndSwap(s, s&^held|woken) {
				return true
			}
		default: // no queue, or somebody awake who will see to it
			if l.state.CompareAndSwap(s, s&^held) {
				return false
			}
		}
	}
}

// wake does what free asks for: it takes the first off the queue and wakes it,
// which owes the woken bit from then on. If the queue has emptied meanwhile,
// nobody needs waking and the bit goes.
func (l *Lock) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil {
		l.state.And(^uint32(woken))
		return
	}
	l.pop().token <- struct{}{}
}

// pass hands the caller's lock to the first in the queue and reports whether
// it did: not if the hand-off is off, because all who waited have left.
func (l *Lock) pass() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.Load()&handoff == 0 {
		return false
	}
	w := l.pop()
	if l.first == nil || !l.first.old() {
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
// not, w is in the queue afterwards if it stays and out of it if not. Either
// way w has given up its woken bit. The caller holds mu.
func (l *Lock) settle(w *waiter, stay bool) bool {
	if w.inQueue {
		l.remove(w)
	}
	for {
		s := l.state.Load()
		free := s&held == 0
		// It is held afterwards in any case. With that in the same step, w
		// may give up woken: the holder will look after the queue.
		n := s | held
		if w.awake {
			n &^= woken
		}
		switch {
		case !free && stay:
			n |= queued
			if w.awake && w.old() {
				n |= handoff
			}
		case l.first == nil:
			n &^= queued | handoff
		}
		if !l.state.CompareAndSwap(s, n) {
			continue
		}
		if !free && stay {
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
		l.state.And(^uint32(queued))
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
