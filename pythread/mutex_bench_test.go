package pythread

import (
	"fmt"
	"sync"
	"testing"
)

// BenchmarkMutexPair is one lock and unlock without contention.
func BenchmarkMutexPair(b *testing.B) {
	b.Run("pythread", func(b *testing.B) {
		var m Mutex
		for range b.N {
			m.Lock()
			m.Unlock()
		}
	})
	b.Run("mutex", func(b *testing.B) {
		var m sync.Mutex
		for range b.N {
			m.Lock()
			m.Unlock()
		}
	})
}

// BenchmarkMutexContended is one lock and unlock, with a few instructions between,
// by many goroutines at once.
func BenchmarkMutexContended(b *testing.B) {
	for _, goroutines := range []int{2, 4, 8, 16, 32, 64} {
		b.Run(fmt.Sprint(goroutines), func(b *testing.B) {
			b.Run("pythread", func(b *testing.B) {
				var m Mutex
				contend(b, goroutines, m.Lock, m.Unlock)
			})
			b.Run("mutex", func(b *testing.B) {
				var m sync.Mutex
				contend(b, goroutines, m.Lock, m.Unlock)
			})
		})
	}
}
