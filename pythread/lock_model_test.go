package pythread

import (
	"fmt"
	"slices"
	"testing"
)

// The tests in this file, and in mutex_model_test.go, drive a lock's own code
// through every possible order of its steps. A step is one change of state by a
// goroutine that does not hold mu, or all that a goroutine does while it holds mu.
// So any run of several goroutines is a sequence of steps. Here a search picks the
// order, not chance.

// searched is a lock with the actors that use it, numbered from 0 on.
type searched interface {
	size() int

	// steps returns the steps that an actor could take now, and whether the last
	// of them is to give up.
	steps(actor int) (steps []func(), mayLeave bool)

	// key is equal for two of them only if they can go on in the same ways.
	key() string

	// check returns what is wrong, or "". alive says whether some actor can take a
	// step other than to give up.
	check(alive bool) string
}

// actor is a goroutine that locks and unlocks, cut into steps.
type actor struct {
	rounds int  // acquires to go, the present one included
	tries  bool // gives up where it would have to wait
	leaves bool // may give up its wait at any time
	w      *waiter
	phase  phase
}

type phase byte

const (
	start    phase = iota // before TryAcquire
	queueing              // before enqueue
	waiting               // for its token
	holding               // before free
	waking                // before wake
	finished
)

// stepsOfLock returns the steps by which a acquires and releases l.
func (a *actor) stepsOfLock(l *Lock) (steps []func(), mayLeave bool) {
	// end ends a round, as the end of wait does.
	end := func() {
		a.w.granted, a.w.awake = false, false
		a.next()
	}
	switch a.phase {
	case start:
		steps = append(steps, func() {
			switch {
			case l.TryAcquire():
				a.phase = holding
			case a.tries:
				end()
			default:
				a.phase = queueing
			}
		})
	case queueing:
		steps = append(steps, func() {
			a.phase = waiting
			if l.enqueue(a.w) {
				a.phase = holding
			}
		})
	case waiting:
		if len(a.w.token) > 0 {
			steps = append(steps, func() {
				<-a.w.token
				a.phase = holding
				if !a.w.granted {
					a.w.awake = true
					a.phase = queueing
				}
			})
		}
		if a.leaves {
			mayLeave = true
			steps = append(steps, func() {
				if l.leave(a.w) {
					a.phase = holding
				} else {
					end()
				}
			})
		}
	case holding:
		steps = append(steps, func() {
			if l.free() {
				a.phase = waking
			} else {
				end()
			}
		})
	case waking:
		steps = append(steps, func() {
			l.wake()
			end()
		})
	}
	return steps, mayLeave
}

// next ends a round.
func (a *actor) next() {
	a.phase = start
	if a.rounds--; a.rounds == 0 {
		a.phase = finished
	}
}

// actors are all that use a lock.
type actors []*actor

func (as actors) size() int { return len(as) }

// index returns the number of the actor with this waiter, for a key.
func (as actors) index(w *waiter) byte {
	return byte(slices.IndexFunc(as, func(a *actor) bool { return a.w == w }))
}

// world is a lock and the actors that use it.
type world struct {
	l Lock
	actors
}

func (w *world) steps(i int) ([]func(), bool) { return w.actors[i].stepsOfLock(&w.l) }

func (w *world) key() string {
	key := []byte{byte(w.l.state.Load()), 0}
	if w.l.awake {
		key[1] = 1
	}
	for queued := w.l.first; queued != nil; queued = queued.next {
		key = append(key, w.index(queued))
	}
	for _, a := range w.actors {
		flags := len(a.w.token)
		if a.w.awake {
			flags |= 2
		}
		if a.w.granted {
			flags |= 4
		}
		key = append(key, '|', byte(a.rounds), byte(a.phase), byte(flags))
	}
	return string(key)
}

func (w *world) check(alive bool) string {
	holders, awake, wakers, atWork := 0, 0, 0, false
	for _, a := range w.actors {
		switch {
		case a.phase == holding:
			holders++
		case a.phase == waiting && a.w.granted:
			holders++ // a lock that is being passed on
		case a.phase == waiting && len(a.w.token) > 0, a.w.awake:
			awake++
		case a.phase == waking:
			wakers++
		}
		atWork = atWork || a.phase != finished
	}
	s := w.l.state.Load()
	queue := w.l.first != nil
	switch {
	case holders > 1:
		return fmt.Sprint(holders, " have the lock")
	case holders == 1 != (s&held != 0):
		return fmt.Sprint(holders, " have the lock, and held says otherwise")
	case s&handoff != 0 && s&queued == 0:
		return "handoff without queued"
	case s&queued != 0 && (s&held == 0 || !queue):
		return "queued without a holder or a queue"
	case awake > 1, awake == 1 != w.l.awake:
		return fmt.Sprint(awake, " are awake, and the lock says otherwise")
	case queue && s&queued == 0 && wakers+awake == 0:
		return "no goroutine has the duty to look after the queue"
	case atWork && !alive:
		return "a wake-up is lost"
	case !atWork && s != 0:
		return "the lock is not free in the end"
	}
	return ""
}

// choice is one step that can be next: an actor's number, and the number of one
// of its steps.
type choice struct{ actor, step byte }

// explore walks every path from the world that create makes, and returns how
// many worlds it has seen. A world cannot be copied, so it walks each path from
// the beginning.
func explore(t *testing.T, create func() searched) (worlds int) {
	seen := map[string]bool{}
	paths := [][]choice{nil}
	for len(paths) > 0 {
		path := paths[len(paths)-1]
		paths = paths[:len(paths)-1]
		w := create()
		for _, c := range path {
			steps, _ := w.steps(int(c.actor))
			steps[c.step]()
		}
		key := w.key()
		if seen[key] {
			continue
		}
		seen[key] = true
		alive := false
		for i := range w.size() {
			steps, mayLeave := w.steps(i)
			alive = alive || len(steps) > 1 || len(steps) == 1 && !mayLeave
			for j := range steps {
				paths = append(paths, append(slices.Clip(path), choice{byte(i), byte(j)}))
			}
		}
		if wrong := w.check(alive); wrong != "" {
			t.Fatalf("%s after %v, with key %q", wrong, path, key)
		}
	}
	return len(seen)
}

// exploreAll explores the worlds that create makes for several casts of actors, of
// which none, one or all are old.
func exploreAll(t *testing.T, create func(actors) searched) {
	for _, c := range []struct {
		name   string
		actors []actor
	}{
		{"two wait", []actor{{rounds: 4}, {rounds: 4}}},
		{"three wait", []actor{{rounds: 2}, {rounds: 2}, {rounds: 2}}},
		{"four wait", []actor{{rounds: 1}, {rounds: 1}, {rounds: 1}, {rounds: 1}}},
		{"one of two may leave", []actor{{rounds: 3}, {rounds: 3, leaves: true}}},
		{"one of three may leave", []actor{{rounds: 2}, {rounds: 2}, {rounds: 2, leaves: true}}},
		{"all may leave", []actor{{rounds: 2, leaves: true}, {rounds: 2, leaves: true}, {rounds: 2, leaves: true}}},
		{"one tries", []actor{{rounds: 3, tries: true}, {rounds: 2}, {rounds: 2, leaves: true}}},
		{"one of each", []actor{{rounds: 1}, {rounds: 1}, {rounds: 1, leaves: true}, {rounds: 2, tries: true}}},
	} {
		everybody := 1<<len(c.actors) - 1
		for _, old := range []int{0, 1, everybody} { // bit i: actor i is old
			t.Run(fmt.Sprintf("%s, old %b", c.name, old), func(t *testing.T) {
				worlds := explore(t, func() searched {
					var as actors
					for i, a := range c.actors {
						a.w = agedWaiter(old>>i&1 != 0)
						as = append(as, &a)
					}
					return create(as)
				})
				t.Log(worlds, "worlds")
			})
		}
	}
}

func TestNoOrderOfStepsLosesTheLockOrAWakeUp(t *testing.T) {
	exploreAll(t, func(as actors) searched { return &world{actors: as} })
}
