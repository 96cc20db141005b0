package pythread

import (
	"fmt"
	"slices"
	"testing"
)

// locker is a goroutine that locks and unlocks a Mutex, cut into steps. Its
// phases are an actor's; waking is here before unlockParked.
type locker struct {
	rounds int  // locks to go, the present one included
	tries  bool // gives up where it would have to wait
	leaves bool // may give up its wait at any time
	w      *waiter
	phase  phase
}

func (a *locker) steps(m *Mutex) (steps []func(), mayLeave bool) {
	switch a.phase {
	case start:
		steps = append(steps, func() {
			switch {
			case m.swap(0, locked), a.tries && m.TryLock():
				a.phase = holding
			case a.tries:
				a.next()
			default:
				a.phase = queueing
			}
		})
	case queueing:
		steps = append(steps, func() {
			a.phase = waiting
			if m.enqueue(a.w) {
				a.phase = holding
			}
		})
		if !a.w.awake && m.load() == parked {
			// It has stood aside for long enough.
			steps = append(steps, func() {
				if m.swap(parked, locked) {
					a.phase = holding
				}
			})
		}
	case waiting:
		if len(a.w.token) > 0 {
			steps = append(steps, func() {
				<-a.w.token
				a.w.awake = true
				a.phase = queueing
			})
		}
		if a.leaves {
			mayLeave = true
			steps = append(steps, func() {
				if m.leave(a.w) {
					a.phase = holding
				} else {
					a.next()
				}
			})
		}
	case holding:
		steps = append(steps, func() {
			if m.swap(locked, 0) {
				a.next()
			} else {
				a.phase = waking
			}
		})
	case waking:
		steps = append(steps, func() {
			m.unlockParked()
			a.next()
		})
	}
	return steps, mayLeave
}

// next ends a round.
func (a *locker) next() {
	a.phase = start
	if a.rounds--; a.rounds == 0 {
		a.phase = finished
	}
}

// mutexWorld is a Mutex and the goroutines that use it.
type mutexWorld struct {
	m       Mutex
	lockers []*locker
}

func (w *mutexWorld) size() int { return len(w.lockers) }

func (w *mutexWorld) steps(i int) ([]func(), bool) { return w.lockers[i].steps(&w.m) }

func (w *mutexWorld) key() string {
	key := []byte{w.m.load(), 0}
	if p := bucketOf(&w.m).find(&w.m); p != nil {
		key[1] = 1
		if p.awake {
			key[1] = 2
		}
		for queued := p.first; queued != nil; queued = queued.next {
			key = append(key, byte(slices.IndexFunc(w.lockers, func(a *locker) bool { return a.w == queued })))
		}
	}
	for _, a := range w.lockers {
		flags := len(a.w.token)
		if a.w.awake {
			flags |= 2
		}
		if a.w.lost {
			flags |= 4
		}
		key = append(key, '|', byte(a.rounds), byte(a.phase), byte(flags))
	}
	return string(key)
}

func (w *mutexWorld) check(alive bool) string {
	holders, awake, places, atWork := 0, 0, 0, false
	for _, a := range w.lockers {
		switch {
		case a.phase == holding, a.phase == waking:
			holders++
		case a.phase == waiting && len(a.w.token) > 0, a.w.awake:
			awake++
		}
		if a.w.spare != nil {
			places++
		}
		atWork = atWork || a.phase != finished
	}
	p := bucketOf(&w.m).find(&w.m)
	if p != nil {
		places++
	}
	queue := p != nil && p.first != nil
	b := w.m.load()
	switch {
	case holders > 1:
		return fmt.Sprint(holders, " have the lock")
	case holders == 1 != (b&locked != 0):
		return fmt.Sprint(holders, " have the lock, and the byte says otherwise")
	case awake > 1, awake == 1 != (p != nil && p.awake):
		return fmt.Sprint(awake, " are awake, and the place says otherwise")
	case b == locked|parked && (!queue || awake > 0):
		return "locked and parked, but none is parked or one is awake"
	case b == parked && awake == 0:
		return "reserved for a waiter that is not awake"
	case queue && b != locked|parked && awake == 0:
		return "nobody has the duty to see to the waiters"
	case p != nil && !queue && awake == 0:
		return "a place is left"
	case places > len(w.lockers):
		return "there are more places than waiters"
	case atWork && !alive:
		return "a wake-up is lost"
	case !atWork && b != 0:
		return "the lock is not free in the end"
	}
	return ""
}

func TestNoOrderOfStepsLosesTheMutexOrAWakeUp(t *testing.T) {
	for _, c := range []struct {
		name    string
		lockers []locker
	}{
		{"two wait", []locker{{rounds: 4}, {rounds: 4}}},
		{"three wait", []locker{{rounds: 2}, {rounds: 2}, {rounds: 2}}},
		{"four wait", []locker{{rounds: 1}, {rounds: 1}, {rounds: 1}, {rounds: 1}}},
		{"one of two may leave", []locker{{rounds: 3}, {rounds: 3, leaves: true}}},
		{"one of three may leave", []locker{{rounds: 2}, {rounds: 2}, {rounds: 2, leaves: true}}},
		{"all may leave", []locker{{rounds: 2, leaves: true}, {rounds: 2, leaves: true}, {rounds: 2, leaves: true}}},
		{"one tries", []locker{{rounds: 3, tries: true}, {rounds: 2}, {rounds: 2, leaves: true}}},
		{"one of each", []locker{{rounds: 1}, {rounds: 1}, {rounds: 1, leaves: true}, {rounds: 2, tries: true}}},
	} {
		everybody := 1<<len(c.lockers) - 1
		for _, old := range []int{0, 1, everybody} { // bit i: locker i is old
			t.Run(fmt.Sprintf("%s, old %b", c.name, old), func(t *testing.T) {
				worlds := explore(t, func() searched {
					w := new(mutexWorld)
					for i, a := range c.lockers {
						a.w = agedWaiter(old>>i&1 != 0)
						w.lockers = append(w.lockers, &a)
					}
					return w
				})
				t.Log(worlds, "worlds")
			})
		}
	}
}
