package pythread

import (
	"context"
	"runtime"
	"time"
)

// Mutex is CPython's PyMutex: a lock of one byte, which starts out free.
//
// It has no owner: any goroutine may unlock it. A goroutine that locks it twice waits
// until another goroutine unlocks it. The zero Mutex is ready to use. A Mutex must not
// be copied or moved after its first use. All methods are safe for concurrent use.
// What happens before an Unlock happens before the return of the call that gets the
// lock next.
//
// Waiters do not get the lock in strict order, but none waits for ever while others
// come and go. If a waiter has waited for 1 ms and finds the lock taken again, the
// next unlock reserves the lock for the waiter. Then goroutines that begin to wait
// leave the lock to the waiter for 0.2 ms. TryLock takes even a reserved lock, and so
// does a wait that would otherwise end without the lock.
//
// A [Lock] has the same contract, and takes 56 bytes. A Mutex is for a program with
// many locks, such as one in each object. If several locks in one cache line are in
// use at the same time, they slow each other down.
//
// It stands for CPython's PyMutex (3.13), and its byte has PyMutex's values: 0 is
// unlocked, 1 is locked, 3 is locked with waiters, and 2 is unlocked with waiters.
type Mutex struct {
	// How it works. A lock or an unlock without contention is a single
	// compare-and-swap of the byte, from 0 to locked or back. A goroutine that finds
	// the byte locked becomes a waiter, and parks: it enters a queue and sleeps. An
	// unlock that finds the byte locked|parked frees the lock and wakes the first
	// waiter. Before the waiter runs, goroutines that run already may take the lock.
	// A waiter that finds the lock taken goes back to the front of the queue. If
	// such a waiter is old, the unlock that wakes it next reserves the lock for it.
	// So it does not wait for ever.
	//
	// The values of the byte:
	//
	//	0                free
	//	locked           a goroutine has the lock
	//	locked | parked  a goroutine has the lock, and must wake the first waiter
	//	parked           the lock is free, and reserved for the waiter that is awake
	//
	// While a waiter is awake, the byte need not tell that others are parked. So
	// other goroutines lock and unlock at full speed in the microseconds before the
	// waiter runs.
	//
	// Three rules hold whenever no goroutine is in the middle of a step. All that a
	// goroutine does while it holds the bucket's mu is one step. Each change of the
	// byte by a goroutine that does not hold mu is also a step.
	//
	//  1. If the byte is locked|parked, a waiter is parked and none is awake.
	//  2. If the byte is parked, a waiter is awake.
	//  3. If a waiter is parked, some goroutine has the duty to wake it. So no
	//     wake-up is lost. If the byte is locked|parked, the next unlock has the
	//     duty. Otherwise the waiter that is awake has it. An unlock gives the duty
	//     to the waiter that it wakes. A waiter that is awake calls settle, whether
	//     it takes the lock, parks again or leaves. If a waiter is parked then,
	//     settle makes the byte locked|parked.
	//
	// A goroutine that does not hold mu changes the byte only from 0 or parked to
	// locked, and from locked to 0. All other changes happen under mu. No unlock
	// uses the byte after the change that frees the lock. So the memory of a Mutex
	// may be freed after its last unlock.
	//
	// Unlike the release of a Lock, an unlock never passes the lock to a waiter.
	// The waiter may have no processor for 10 ms, and all others would wait that
	// long. A goroutine that finds the lock reserved stands aside, for lapse at most.
	//
	// Memory order. Every change of the byte is an atomic read-modify-write. In Go
	// an atomic operation that sees the effect of another happens after the other.
	// So the operation that sets locked has seen the one that cleared locked,
	// directly or through others. All that was done under the lock before is
	// visible.
	bits uint8
}

const (
	locked = 1 << iota
	parked
)

// lapse is how long a goroutine that finds the byte reserved stands aside. A waiter
// that has a processor runs in less time.
const lapse = 200 * time.Microsecond

// TryLock takes the lock if it is free and reports whether it did. It does not
// wait.
//
// CPython's counterpart is its internal _PyMutex_LockTimed with a timeout of 0.
func (m *Mutex) TryLock() bool {
	return m.swap(0, locked) || m.swap(parked, locked)
}

// LockTimed waits for the lock for at least us microseconds of the monotonic clock.
// It returns Acquired, or Failure if the lock was not free in that time. If us is 0, it
// tries once. If us is negative, it waits without limit. A us above [TimeoutMax] counts
// as TimeoutMax.
//
// It mirrors CPython's internal _PyMutex_LockTimed (3.13), whose timeout is in
// nanoseconds.
func (m *Mutex) LockTimed(us int64) LockStatus {
	return m.lock(microseconds(us), nil)
}

// LockContext waits until it has the lock and returns Acquired, or until ctx is
// done and returns Interrupted. If the lock is free, the result is Acquired, even
// if ctx was done before the call.
//
// It mirrors CPython's internal _PyMutex_LockTimed with _PY_FAIL_IF_INTERRUPTED
// (3.15). There a signal to the thread ends the wait, as the end of ctx does here.
func (m *Mutex) LockContext(ctx context.Context) LockStatus {
	return m.lock(-1, ctx.Done())
}

// IsLocked reports whether the lock is taken at this moment. Another goroutine may
// change that at any time, so IsLocked is for assertions and for debugging.
//
// It mirrors PyMutex_IsLocked (3.14).
func (m *Mutex) IsLocked() bool { return m.load()&locked != 0 }

// lockSlow is the part of Lock for a lock that others may have.
func (m *Mutex) lockSlow() {
	if !m.swap(0, locked) {
		m.lock(-1, nil)
	}
}

// lock waits for the lock. It returns Failure when timeout has passed: at once if
// timeout is zero, and never if timeout is negative. It returns Interrupted when
// cancel is ready.
func (m *Mutex) lock(timeout time.Duration, cancel <-chan struct{}) LockStatus {
	if timeout == 0 {
		if m.TryLock() {
			return Acquired
		}
		return Failure
	}
	for range spins {
		if m.try() {
			return Acquired
		}
	}
	if 0 < timeout && timeout <= brief {
		status := poll(m, timeout, cancel)
		// A wait that ends takes even a reserved lock, which poll does not.
		if status != Acquired && m.TryLock() {
			return Acquired
		}
		return status
	}
	if m.standAside() {
		return Acquired
	}
	return wait(m, timeout, cancel)
}

// try takes the lock if it is free and not reserved, and reports whether it did. The
// load saves the compare-and-swap if another goroutine has the lock.
func (m *Mutex) try() bool { return m.load() == 0 && m.swap(0, locked) }

// standAside lets other goroutines run while the lock is reserved, for lapse at most.
// Then it takes the lock if it can, and reports whether it has the lock. In a bubble of
// testing/synctest no time passes while a goroutine runs. So there it waits until the
// waiter has run.
func (m *Mutex) standAside() bool {
	if m.load() != parked {
		return false
	}
	for start := time.Now(); ; {
		runtime.Gosched()
		switch m.load() {
		case 0:
			if m.swap(0, locked) {
				return true
			}
		case parked:
			if time.Since(start) >= lapse && m.swap(parked, locked) {
				return true
			}
		default:
			return false
		}
	}
}

// unlockSlow is the part of Unlock for a lock that may have waiters.
func (m *Mutex) unlockSlow() {
	if !m.swap(locked, 0) {
		m.unlockParked()
	}
}

// unlockParked frees the lock, and wakes the first waiter if the byte tells of waiters.
func (m *Mutex) unlockParked() {
	b := bucketOf(m)
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch m.load() {
		case locked | parked:
			p := b.find(m)
			w := p.first
			free := uint8(0)
			if w.lost {
				free = parked
			}
			m.swap(locked|parked, free) // Only the holder of mu changes locked|parked.
			p.remove(w)
			p.awake = true
			w.token <- struct{}{}
			return
		case locked: // All waiters have left since unlockSlow looked at the byte.
			if m.swap(locked, 0) {
				return
			}
		default:
			panic("unlocking mutex that is not locked")
		}
	}
}

// enqueue is part of waitable.
func (m *Mutex) enqueue(w *waiter) bool {
	if w.spare == nil && !w.awake { // a waiter that is awake finds a place for m
		w.spare = new(place)
	}
	b := bucketOf(m)
	b.mu.Lock()
	defer b.mu.Unlock()
	return m.settle(b, w, true)
}

// leave is part of waitable.
func (m *Mutex) leave(w *waiter) bool {
	b := bucketOf(m)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !w.inQueue {
		<-w.token // does not wait, because the unlock has sent the token under mu
		w.awake = true
	}
	return m.settle(b, w, false)
}

// settle takes the lock for w if the lock is free, and reports whether it was free.
// Otherwise w is parked afterwards if stay is true, and has left the queue if stay is
// false. If w was awake, w has handed on its duty to wake the waiters that are parked.
// The caller holds the mu of b, the bucket of m.
func (m *Mutex) settle(b *bucket, w *waiter, stay bool) bool {
	p := b.open(m, w)
	if w.inQueue {
		p.remove(w)
	}
	if w.awake {
		p.awake = false
	}
	var free, parks bool
	for done := false; !done; {
		now := m.load()
		// The waiter that is awake takes a reserved lock. So does a waiter that leaves.
		free = now == 0 || now == parked && (w.awake || !stay)
		parks = stay && !free
		next := uint8(locked)
		switch {
		case parks && now == parked:
			next = parked // the waiter that is awake has the duty to wake w
		case !p.awake && (parks || p.first != nil):
			next = locked | parked
		}
		done = m.swap(now, next)
	}
	w.lost = parks && w.awake && w.old()
	if parks {
		// The byte tells of w already. An unlock looks for w only under mu.
		p.push(w)
	}
	w.awake = false
	b.close(p, w)
	return free
}
