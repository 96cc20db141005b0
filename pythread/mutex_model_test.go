package pythread

import (
	"fmt"
	"testing"
)

// stepsOfMutex returns the steps by which a locks and unlocks m. Waking is here
// before unlockParked.
func (a *actor) stepsOfMutex(m *Mutex) (steps []func(), mayLeave bool) {
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

// mutexWorld is a Mutex and the actors that use it.
type mutexWorld struct {
	m Mutex
	actors
}

func (w *mutexWorld) steps(i int) ([]func(), bool) { return w.actors[i].stepsOfMutex(&w.m) }

func (w *mutexWorld) key() string {
	key := []byte{w.m.load(), 0}
	if p := bucketOf(&w.m).find(&w.m); p != nil {
		key[1] = 1
		if p.awake {
			key[1] = 2
		}
		for queued := p.first; queued != nil; queued = queued.next {
			key = append(key, w.index(queued))
		}
	}
	for _, a := range w.actors {
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
	for _, a := range w.actors {
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
		return "no goroutine has the duty to look after the waiters"
	case p != nil && !queue && awake == 0:
		return "a place is left"
	case places > len(w.actors):
		return "there are more places than waiters"
	case atWork && !alive:
		return "a wake-up is lost"
	case !atWork && b != 0:
		return "the lock is not free in the end"
	}
	return ""
}

func TestNoOrderOfStepsLosesTheMutexOrAWakeUp(t *testing.T) {
	exploreAll(t, func(as actors) searched { return &mutexWorld{actors: as} })
}
