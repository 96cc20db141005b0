package quicktest

import (
	"runtime"
	"testing"
	"time"
)

// onNewThread calls f on an OS thread that has started no thread yet.
func onNewThread(f func()) {
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread() // The OS thread ends with the goroutine.
		f()
	}()
	<-done
}

// startQuick starts a thread directly after the join of another.
func startQuick(t *testing.T) thread {
	start().joined()
	quick := start()
	if !quick.quick {
		t.Fatal("a start directly after a join is not quick")
	}
	return quick
}

func TestOnlyAStartDirectlyAfterTheLastJoinIsQuick(t *testing.T) {
	onNewThread(func() {
		if start().quick {
			t.Error("the first start is quick")
		}
		startQuick(t)
		if start().quick {
			t.Error("a start without a join before is quick")
		}
		older := start()
		start()
		older.joined()
		if start().quick {
			t.Error("a start after the join of an older thread is quick")
		}
		start().joined()
		pass(10 * time.Microsecond)
		if start().quick {
			t.Error("a start 10 us after the join is quick")
		}
	})
}

func TestOnOneProcessorNoStartIsQuick(t *testing.T) {
	setProcessors(1)
	defer setProcessors(2)
	onNewThread(func() {
		start().joined()
		if start().quick {
			t.Error("a start directly after a join is quick")
		}
	})
}

func TestAJoinOfAQuickThreadLooksForItsEndForAWhile(t *testing.T) {
	onNewThread(func() {
		quick := startQuick(t)
		if d := quick.look(); d < 45*time.Microsecond || d > 55*time.Microsecond {
			t.Errorf("a join has looked for %v, want 50 us", d)
		}
	})
	onNewThread(func() {
		quick := startQuick(t)
		quick.end()
		if d := quick.look(); d > time.Microsecond {
			t.Errorf("a join has looked for %v for an end that came before", d)
		}
	})
	onNewThread(func() {
		other := start()
		startQuick(t)
		if d := other.look(); d > 0 {
			t.Errorf("a join of an older thread has looked for %v", d)
		}
	})
	onNewThread(func() {
		if d := start().look(); d > 0 {
			t.Errorf("a join of a thread whose start was not quick has looked for %v", d)
		}
	})
}

// misses joins a quick thread that has not ended, and returns how many of the next
// starts, each directly after a join, are not quick.
func misses(t *testing.T, quick thread) (pauses int, next thread) {
	quick.look()
	quick.joined()
	for next = start(); !next.quick; next = start() {
		pauses++
		next.joined()
		if pauses > 1000 {
			t.Fatal("no start is quick any more")
		}
	}
	return pauses, next
}

func TestAfterEachMissTwiceAsManyStartsAreNotQuick(t *testing.T) {
	onNewThread(func() {
		quick := startQuick(t)
		var got int
		for _, want := range []int{2, 4, 8, 16, 32, 32} {
			if got, quick = misses(t, quick); got != want {
				t.Errorf("%d starts after a miss are not quick, want %d", got, want)
			}
		}
		quick.end()
		quick.look()
		quick.joined()
		if quick = start(); !quick.quick {
			t.Fatal("a start after the join of a thread that has ended is not quick")
		}
		if got, _ = misses(t, quick); got != 2 {
			t.Errorf("%d starts after the next miss are not quick, want 2", got)
		}
	})
}
