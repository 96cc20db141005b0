package pythread

import (
	"context"
	"runtime"
	"time"
)

// Mutex is CPython's PyMutex: a lock of one byte, which starts out free.
//
// It has no owner: any goroutine may unlock it, and a goroutine that locks it
// twice waits for another's Unlock. The zero Mutex is ready to use; it must not
// be copied or moved once used. All methods are safe for concurrent use. What
// happens before an Unlock happens before the return of the call that gets the
// lock next.
//
// Waiters do not get the lock in strict order, but none waits for ever while others
// come and go. If a waiter has waited for 1 ms and finds the lock taken again, the
// next unlock reserves the lock for the waiter. Another goroutine may take the lock
// if the waiter does not run within 0.2 ms.
//
// A [Lock] has the same contract, and takes 56 bytes. A Mutex is for a program with
// many locks, such as one in each object. Locks that share a cache line slow each
// other down if several are in use at the same time.
//
// It stands for CPython's PyMutex (3.13), and its byte has PyMutex's values: 0 is
// unlocked, 1 is locked, 3 is locked with waiters, and 2 is unlocked with waiters.
type Mutex struct {
	// How it works. A lock or an unlock without contention is a single
	// compare-and-swap of the byte, from 0 to 1 or back. A goroutine that finds the
	// byte locked becomes a waiter, and parks. An unlock that finds the byte
	// locked|parked frees it and wakes the first waiter. While the waiter is
	// scheduled, goroutines that run already may take the lock. A waiter that finds
	// the lock taken goes back to the front. If such a waiter is old, the byte is
	// reserved at its next wake-up, so that it does not wait for ever.
	//
	// The values of the byte:
	//
	//	0                free
	//	locked           a goroutine has the lock
	//	locked | parked  a goroutine has it, and the unlock must wake the first waiter
	//	parked           reserved: only the waiter that is awake may take it
	//
	// While a waiter is awake, the byte need not say that others are parked. So
	// other goroutines lock and unlock at full speed in the microseconds before the
	// waiter runs.
	//
	// Three rules hold whenever no goroutine is in the middle of a step. A step is
	// one change of the byte by a goroutine that does not hold the bucket's mu, or
	// all that a goroutine does while it holds mu.
	//
	//  1. If the byte is locked|parked, a waiter is parked and none is awake.
	//  2. If the byte is parked, a waiter is awake.
	//  3. If a waiter is parked, some goroutine has the duty to wake it. So no
	//     wake-up is lost. If the byte is locked|parked, the next unlock has the
	//     duty, else the waiter that is awake. The unlock hands the duty to the
	//     waiter that it wakes. A waiter that is awake calls settle, whether it
	//     takes the lock, parks again or leaves. settle makes the byte
	//     locked|parked if a waiter is parked.
	//
	// A goroutine that does not hold mu makes only these changes: from 0 or parked
	// to locked, and from locked to 0. All other changes happen under mu, and so
	// does the unlock of locked|parked. No unlock uses the byte after it has freed
	// the lock. So the memory of a Mutex may be freed after its last unlock.
	//
	// An unlock passes the lock to no waiter, unlike the release of a Lock. The
	// waiter may have no processor for 10 ms, and all others would wait that long.
	// A goroutine that finds the byte reserved stands aside, for lapse at most.
	//
	// Memory order. Every change of the byte is an atomic read-modify-write. In Go
	// an atomic operation that sees the effect of another happens after it. So the
	// operation that sets locked has seen, directly or through others, the one that
	// cleared it. All that was done under the lock before is visible.
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
// It returns Acquired, or Failure if the lock was not free in that time. Zero tries
// once, any negative us waits without limit, and more than [TimeoutMax] counts as
// TimeoutMax.
//
// It mirrors CPython's internal _PyMutex_LockTimed (3.13), whose timeout is in
// nanoseconds.
func (m *Mutex) LockTimed(us int64) LockStatus {
	if us < 0 {
		return m.lock(-1, nil)
	}
	return m.lock(time.Duration(min(us, TimeoutMax))*time.Microsecond, nil)
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

// lock waits for the lock. It returns Failure when timeout has passed, at once if
// timeout is zero and never if timeout is negative. It returns Interrupted when
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

// try does not take a lock that is reserved.
func (m *Mutex) try() bool { return m.load() == 0 && m.swap(0, locked) }

// standAside lets others run while the lock is reserved, for lapse at most, and
// reports whether it has the lock. In a bubble no time passes while a goroutine runs,
// so there it waits until the waiter has run.
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

// unlockParked wakes the first waiter, if there is one.
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
		case locked: // All waiters have left.
			if m.swap(locked, 0) {
				return
			}
		default:
			panic("unlocking mutex that is not locked")
		}
	}
}

func (m *Mutex) enqueue(w *waiter) bool {
	if w.spare == nil && !w.awake { // the waiter that is awake has a place already
		w.spare = new(place)
	}
	b := bucketOf(m)
	b.mu.Lock()
	defer b.mu.Unlock()
	return m.settle(b, w, true)
}

func (m *Mutex) leave(w *waiter) bool {
	b := bucketOf(m)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !w.inQueue {
		<-w.token // this does not wait: the token was sent under mu
		w.awake = true
	}
	return m.settle(b, w, false)
}

// settle takes the lock for w if the lock is free, and reports whether it was free.
// If not, w is parked afterwards exactly if stay is true. If w was awake, it has
// handed on its duty to look after the waiters that are parked. The caller holds the
// mu of b, the bucket of m.
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
		// A waiter that leaves takes a lock that is reserved, as TryLock does.
		free = now == 0 || now == parked && (w.awake || !stay)
		parks = stay && !free
		next := uint8(locked)
		switch {
		case parks && now == parked:
			next = parked // and the waiter that is awake has the duty
		case !p.awake && (parks || p.first != nil):
			next = locked | parked
		}
		done = m.swap(now, next)
	}
	w.lost = parks && w.awake && w.old()
	if parks {
		// The unlock that finds w parked waits for mu before it looks for w.
		p.push(w)
	}
	w.awake = false
	b.close(p, w)
	return free
}
