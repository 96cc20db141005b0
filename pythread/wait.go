package pythread

import (
	"runtime"
	"sync"
	"time"
)

// waitable is a lock as the goroutines see it that wait for it.
type waitable interface {
	// try takes the lock if it is free and reports whether it did.
	try() bool

	// enqueue takes the lock for w if the lock is free. Otherwise it queues w, at
	// the front if w has been there before. It reports whether w has the lock.
	enqueue(w *waiter) bool

	// leave ends w's wait, whether w is queued or awake, and reports whether w has
	// the lock: w has it if it was passed to w just before, or is free just now.
	leave(w *waiter) bool
}

// patience is the age at which a waiter is old. A lock that is kept for a waiter
// lies idle until the waiter runs: in those microseconds it could have changed
// hands a hundred times. So keeping it is for exceptions.
const patience = time.Millisecond

// brief is the longest timeout for which a waiter does not sleep. To sleep and
// to be woken by a timer takes the processor longer than that, and the waiter
// wakes much too late, by 50 us to 1 ms.
const brief = 20 * time.Microsecond

// waiter is one goroutine's place in a lock's queue.
type waiter struct {
	token chan struct{} // capacity 1, so that a send never blocks
	since time.Time     // when the wait began
	timer *time.Timer   // nil, or kept for the next timed wait
	spare *place        // nil, or a place for this waiter to open; for a Mutex alone

	// Guarded by what guards the queue.
	next, prev *waiter
	inQueue    bool

	granted bool // the token is the lock; written before it is sent
	awake   bool // woken, and not settled; the waiting goroutine's own
	lost    bool // woken when it was old, and found the lock taken; for a Mutex alone

}

func (w *waiter) old() bool { return time.Since(w.since) >= patience }

// waiters keeps waiters for reuse, so that busy locks make no garbage. A waiter
// in the pool is in no queue, has no token, and is neither granted nor awake.
// Its channel and its timer were made outside of bubbles.
var waiters = sync.Pool{New: func() any { return newWaiter() }}

func newWaiter() *waiter { return &waiter{token: make(chan struct{}, 1)} }

// poll waits for l, for a brief timeout or until cancel can be received from. It
// lets other goroutines run while it waits.
func poll(l waitable, timeout time.Duration, cancel <-chan struct{}) LockStatus {
	start := time.Now()
	if inBubble(start) {
		// The time of a bubble stands still for as long as a goroutine runs.
		return wait(l, timeout, cancel)
	}
	for {
		runtime.Gosched()
		if l.try() {
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

// wait waits for l, for a timeout that is not zero, for ever if it is negative,
// or until cancel can be received from.
func wait(l waitable, timeout time.Duration, cancel <-chan struct{}) LockStatus {
	now := time.Now()
	reuse := !inBubble(now)
	var w *waiter
	if reuse {
		w = waiters.Get().(*waiter)
	} else {
		w = newWaiter()
	}
	w.since = now
	// One timer serves for the whole wait, however often the waiter wakes. The
	// timer is set after the caller was called, so it cannot end the wait early.
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
		// The timer has fired, and its channel still has the time. With
		// GODEBUG=asynctimerchan=1 that channel would end a later wait early.
		w.timer = nil
	}
	if reuse {
		w.granted = false
		waiters.Put(w)
	}
	return status
}

// sleep waits for w's token and returns Acquired, or for expired and returns
// Failure, or for cancel and returns Interrupted.
func (w *waiter) sleep(expired <-chan time.Time, cancel <-chan struct{}) LockStatus {
	if expired == nil && cancel == nil {
		<-w.token // takes half the time of a select
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

// queue has the waiters of one lock that sleep, and says whether another is awake.
type queue struct {
	awake       bool // a waiter woken without the lock has not settled yet
	first, last *waiter
}

// push puts w into the queue: at the front if w is awake, for then w has been
// there before, else at the back.
func (q *queue) push(w *waiter) {
	w.inQueue = true
	switch {
	case q.first == nil:
		q.first, q.last = w, w
	case w.awake:
		w.next, q.first.prev = q.first, w
		q.first = w
	default:
		w.prev, q.last.next = q.last, w
		q.last = w
	}
}

// remove takes w off the queue.
func (q *queue) remove(w *waiter) {
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.next, w.prev, w.inQueue = nil, nil, false
}
