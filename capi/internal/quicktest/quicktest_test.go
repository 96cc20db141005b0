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
		if looked, _ := quick.wait(); looked < 45*time.Microsecond || looked > 55*time.Microsecond {
			t.Errorf("a join has looked for %v, want 50 us", looked)
		}
	})
	onNewThread(func() {
		quick := startQuick(t)
		quick.end()
		if looked, _ := quick.wait(); looked > time.Microsecond {
			t.Errorf("a join has looked for %v for an end that came before", looked)
		}
	})
	onNewThread(func() {
		// A look at the clock takes 100 ns, and a sleep begins with one.
		if looked, _ := start().wait(); looked > 100 {
			t.Errorf("a join of a thread whose start was not quick has looked for %v", looked)
		}
	})
}

func TestAJoinOfTheLastThreadSleepsForAMillisecondAtMost(t *testing.T) {
	onNewThread(func() {
		if _, slept := start().wait(); slept != time.Millisecond {
			t.Errorf("a join would sleep for %v", slept)
		}
	})
	onNewThread(func() {
		quick := startQuick(t)
		if _, slept := quick.wait(); slept != time.Millisecond {
			t.Errorf("a join of a quick thread would sleep for %v", slept)
		}
	})
	onNewThread(func() {
		ended := start()
		ended.end()
		if _, slept := ended.wait(); slept != 0 {
			t.Errorf("a join of a thread that has ended would sleep for %v", slept)
		}
	})
	onNewThread(func() {
		other := start()
		startQuick(t)
		if looked, slept := other.wait(); looked != 0 || slept != 0 {
			t.Errorf("a join of an older thread has looked for %v and would sleep for %v", looked, slept)
		}
	})
}

// misses joins a quick thread that has not ended, and returns how many of the next
// starts, each directly after a join, are not quick.
func misses(t *testing.T, quick thread) (pauses int, next thread) {
	quick.wait()
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
		quick.wait()
		quick.joined()
		if quick = start(); !quick.quick {
			t.Fatal("a start after the join of a thread that has ended is not quick")
		}
		if got, _ = misses(t, quick); got != 2 {
			t.Errorf("%d starts after the next miss are not quick, want 2", got)
		}
	})
}
