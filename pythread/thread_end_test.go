package pythread

import (
	"fmt"
	"testing"
	"time"
)

// mortal is a thread whose end a test looks at, with what the signs need.
type mortal struct {
	h     *Handle
	die   chan struct{} // closed to let the thread return
	value TSS[int]      // holds a value for the thread while it runs
	probe TSS[int]      // Set to find out whether that is refused
}

// signs are all the ways to learn that a thread has ended. wait returns when the
// sign shows; show reports whether the sign shows at this moment.
var signs = []struct {
	name string
	wait func(*mortal)
	show func(*mortal) bool
}{
	{"Join returns", func(m *mortal) { m.h.Join() }, func(m *mortal) bool {
		return soon(func() { m.h.Join() })
	}},
	{"Done is closed", func(m *mortal) { <-m.h.Done() }, (*mortal).isDone},
	{"Get gives none", func(m *mortal) { spin(m.hasNoValue) }, (*mortal).hasNoValue},
	{"Set is refused", func(m *mortal) { spin(m.refusesSet) }, (*mortal).refusesSet},
}

func (m *mortal) isDone() bool {
	select {
	case <-m.h.Done():
		return true
	default:
		return false
	}
}

func (m *mortal) hasNoValue() bool {
	_, ok := m.value.Get(m.h)
	return !ok
}

func (m *mortal) refusesSet() bool {
	m.probe.Set(m.h, 1)
	_, ok := m.probe.Get(m.h)
	return !ok
}

// soon reports whether f returns, in a time that is long even on a busy
// machine.
func soon(f func()) bool {
	returned := make(chan struct{})
	go func() {
		f()
		close(returned)
	}()
	select {
	case <-returned:
		return true
	case <-time.After(time.Minute):
		return false
	}
}

func spin(until func() bool) {
	for !until() {
	}
}

// newMortal starts a thread that has a value and runs until die is closed.
func newMortal() *mortal {
	m := &mortal{die: make(chan struct{})}
	m.h = Start(func() { <-m.die })
	m.value.Set(m.h, 1)
	return m
}

func TestAfterAnySignOfTheEndAllOthersShow(t *testing.T) {
	// With many joiners to wake and many values to erase, the end takes longer. So
	// a look finds an end that is not one step in the middle.
	const joiners, receivers, keys = 100, 20, 50
	rounds := 100
	if testing.Short() {
		rounds /= 10
	}
	for _, first := range signs {
		for _, second := range signs {
			t.Run(first.name+", then "+second.name, func(t *testing.T) {
				for round := range rounds {
					m := newMortal()
					var more [keys]TSS[int]
					for i := range more {
						more[i].Set(m.h, i)
					}
					// The watch waits first, so it is woken first.
					watch := Start(func() {
						first.wait(m)
						if !second.show(m) {
							panic("not yet")
						}
					})
					sleepers := []*Handle{watch}
					for range joiners {
						sleepers = append(sleepers, Start(func() { m.h.Join() }))
					}
					if round%2 == 0 { // else the thread ends without a channel
						for range receivers {
							sleepers = append(sleepers, Start(func() { <-m.h.Done() }))
						}
					}
					time.Sleep(100 * time.Microsecond) // let them fall asleep
					close(m.die)
					for _, h := range sleepers {
						h.Join()
					}
					if got := watch.Join(); got != nil {
						t.Fatalf("round %d: %v", round, got)
					}
				}
			})
		}
	}
}

func TestEndDoesNotWaitForItsValuesToBeErased(t *testing.T) {
	m := newMortal()
	// This keeps the thread from erasing its values.
	record := m.h.record.Load()
	record.mu.Lock()
	close(m.die)
	for _, sign := range signs {
		if !soon(func() { sign.wait(m) }) {
			t.Errorf("not so: %s", sign.name)
		}
	}
	record.mu.Unlock()
	eventually(t, func() error { return holdsNothing(&m.value) })
}

func TestThreadEndsInASingleStep(t *testing.T) {
	// The test itself does what finish does, and looks in between.
	for _, c := range []struct {
		channel, value bool // Done was called, TSS values were set
		panicked       any
	}{
		{false, false, nil}, {false, true, nil}, {true, false, nil}, {true, true, nil},
		{false, false, 1}, {false, true, 1}, {true, false, 1}, {true, true, 1},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			m := &mortal{h: newHandle()}
			joined := make(chan any, 1)
			go func() { joined <- m.h.Join() }()
			if c.channel {
				m.h.Done()
			}
			if c.value {
				m.value.Set(m.h, 1)
			}
			if c.panicked != nil {
				m.h.publish(c.panicked)
			}
			if m.h.ended() || c.value && m.hasNoValue() || c.channel && m.isDone() {
				t.Error("the thread has ended before its end")
			}
			select {
			case <-joined:
				t.Error("Join returned before the end")
			default:
			}

			m.h.end()
			check := func() {
				t.Helper()
				for _, sign := range signs {
					if !sign.show(m) {
						t.Errorf("not so: %s", sign.name)
					}
				}
				if got := m.h.Join(); got != c.panicked {
					t.Errorf("Join() = %v, want %v", got, c.panicked)
				}
			}
			check()
			m.h.joiners.Broadcast()
			if got := <-joined; got != c.panicked {
				t.Errorf("Join() of a sleeper = %v, want %v", got, c.panicked)
			}
			check()
			m.h.erase()
			check()
			if err := holdsNothing(&m.value); err != nil {
				t.Error(err)
			}
		})
	}
}
