package pythread

import (
	"runtime"
	"sync"
	"time"
)

// waitable is what a wait needs of a lock.
type waitable interface {
	// try takes the lock if it is free and reports whether it did.
	try() bool

	// enqueue takes the lock for w if the lock is free. Otherwise it queues w, at
	// the front if w has been there before. It reports whether w has the lock.
	enqueue(w *waiter) bool

	// leave ends w's wait, whether w is queued or awake. It reports whether w has
	// the lock, because a release has just passed it to w, or because it is free.
	leave(w *waiter) bool
}

// patience is the age at which a waiter is old. Only an old waiter has the lock kept
// for it: such a lock is idle until the waiter runs, and could have had a hundred
// other holders in those microseconds.
const patience = time.Millisecond

// brief is the longest timeout for which a waiter does not sleep. A sleep and the
// wake-up by a timer take the processor longer, and the waiter would wake 50 us to
// 1 ms too late.
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

// poll waits for l, for a brief timeout or until cancel is ready. It lets other
// goroutines run while it waits.
func poll(l waitable, timeout time.Duration, cancel <-chan struct{}) LockStatus {
	start := time.Now()
	if inBubble(start) {
		// The time of a bubble stands still while a goroutine runs.
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

// wait waits for l, for a timeout that is not zero, or until cancel is ready. If the
// timeout is negative, there is none.
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
		// The timer has fired, and no receive has taken the time from its channel.
		// With GODEBUG=asynctimerchan=1 the channel would end a later wait early.
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

// setTimer returns the channel of a timer that fires after timeout.
func (w *waiter) setTimer(timeout time.Duration) <-chan time.Time {
	if w.timer == nil {
		w.timer = time.NewTimer(timeout)
	} else {
		w.timer.Reset(timeout)
	}
	return w.timer.C
}

// queue has the waiters of one lock that sleep, and says whether one is awake.
type queue struct {
	awake       bool // a waiter woken without the lock has not settled yet
	first, last *waiter
}

// push puts w into the queue: at the front if w is awake, because then w has been
// there before; else at the back.
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
