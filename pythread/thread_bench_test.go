package pythread

import (
	"fmt"
	"testing"
)

// counted is what the threads change, so that the compiler keeps their work.
var counted int

func count() { counted++ }

// bare is what Start and Join are measured against.
func bare(fn func()) chan struct{} {
	done := make(chan struct{})
	go func() {
		fn()
		close(done)
	}()
	return done
}

// BenchmarkStartJoin starts and joins one thread at a time.
func BenchmarkStartJoin(b *testing.B) {
	b.Run("pythread", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			Start(count).Join()
		}
	})
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			<-bare(count)
		}
	})
}

// BenchmarkStartJoinBatch starts as many threads as its name says and then
// joins them. The time is that of one thread. It should not grow with the
// number of threads by more than the time of bare goroutines does.
func BenchmarkStartJoinBatch(b *testing.B) {
	nothing := func() {}
	for _, size := range []int{10, 1000, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.Run("pythread", func(b *testing.B) {
				handles := make([]*Handle, size)
				for begun := 0; begun < b.N; begun += size {
					for i := range handles {
						handles[i] = Start(nothing)
					}
					for _, h := range handles {
						h.Join()
					}
				}
			})
			b.Run("bare", func(b *testing.B) {
				handles := make([]chan struct{}, size)
				for begun := 0; begun < b.N; begun += size {
					for i := range handles {
						handles[i] = bare(nothing)
					}
					for _, done := range handles {
						<-done
					}
				}
			})
		})
	}
}
