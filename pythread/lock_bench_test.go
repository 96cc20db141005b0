package pythread

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// BenchmarkLockPair is one acquire and release without contention. Each lock has a
// loop of its own, so that the compiler inlines the calls as in real use.
func BenchmarkLockPair(b *testing.B) {
	b.Run("pythread", func(b *testing.B) {
		var l Lock
		for range b.N {
			l.Acquire()
			l.Release()
		}
	})
	b.Run("mutex", func(b *testing.B) {
		var l sync.Mutex
		for range b.N {
			l.Lock()
			l.Unlock()
		}
	})
	b.Run("channel", func(b *testing.B) {
		l := make(chan struct{}, 1)
		for range b.N {
			l <- struct{}{}
			<-l
		}
	})
	b.Run("select", func(b *testing.B) {
		l := make(chan struct{}, 1)
		never := make(chan struct{})
		for range b.N {
			select {
			case l <- struct{}{}:
			case <-never:
			}
			<-l
		}
	})
}

// BenchmarkLockContended is one acquire and release, with a few instructions
// between, by many goroutines at once.
func BenchmarkLockContended(b *testing.B) {
	for _, goroutines := range []int{2, 4, 8, 16, 32, 64} {
		b.Run(fmt.Sprint(goroutines), func(b *testing.B) {
			b.Run("pythread", func(b *testing.B) {
				var l Lock
				contend(b, goroutines, l.Acquire, l.Release)
			})
			b.Run("mutex", func(b *testing.B) {
				var l sync.Mutex
				contend(b, goroutines, l.Lock, l.Unlock)
			})
			b.Run("channel", func(b *testing.B) {
				l := make(chan struct{}, 1)
				contend(b, goroutines, func() { l <- struct{}{} }, func() { <-l })
			})
		})
	}
}

// BenchmarkTimed is one timed acquire, against a channel of one as the lock:
// of a free lock, with its release; of a lock that another goroutine is about
// to release; and of a lock that is not released in time.
func BenchmarkTimed(b *testing.B) {
	const long = time.Minute
	b.Run("free", func(b *testing.B) {
		b.Run("pythread", func(b *testing.B) {
			var l Lock
			for range b.N {
				l.AcquireTimed(long.Microseconds())
				l.Release()
			}
		})
		b.Run("select", func(b *testing.B) {
			l := make(chan struct{}, 1)
			for range b.N {
				acquireTimed(l, long)
				<-l
			}
		})
	})
	b.Run("handed", func(b *testing.B) {
		b.Run("pythread", func(b *testing.B) {
			there, back := heldLock(), heldLock()
			other := Start(func() {
				for range b.N {
					there.AcquireTimed(long.Microseconds())
					back.Release()
				}
			})
			for range b.N {
				there.Release()
				back.AcquireTimed(long.Microseconds())
			}
			other.Join()
		})
		b.Run("select", func(b *testing.B) {
			there, back := make(chan struct{}, 1), make(chan struct{}, 1)
			there <- struct{}{}
			back <- struct{}{}
			other := Start(func() {
				for range b.N {
					acquireTimed(there, long)
					<-back
				}
			})
			for range b.N {
				<-there
				acquireTimed(back, long)
			}
			other.Join()
		})
	})
	for _, timeout := range []time.Duration{time.Microsecond, brief, time.Millisecond} {
		b.Run("late/"+timeout.String(), func(b *testing.B) {
			b.Run("pythread", func(b *testing.B) {
				l := heldLock()
				for range b.N {
					l.AcquireTimed(timeout.Microseconds())
				}
			})
			b.Run("select", func(b *testing.B) {
				l := make(chan struct{}, 1)
				l <- struct{}{}
				for range b.N {
					acquireTimed(l, timeout)
				}
			})
		})
	}
}

// acquireTimed is what BenchmarkTimed compares with.
func acquireTimed(l chan struct{}, timeout time.Duration) bool {
	select {
	case l <- struct{}{}:
		return true
	case <-time.After(timeout):
		return false
	}
}

func contend(b *testing.B, goroutines int, acquire, release func()) {
	n := 0
	var all sync.WaitGroup
	for i := range goroutines {
		all.Add(1)
		go func() {
			defer all.Done()
			for range (b.N + i) / goroutines {
				acquire()
				n++
				release()
			}
		}()
	}
	all.Wait()
	if n != b.N {
		b.Errorf("counted %d, want %d", n, b.N)
	}
}
