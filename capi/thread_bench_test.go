package capi_test

import (
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c0a0ef17/pythread/capi/internal/capitest"
)

// BenchmarkOtherGoroutines measures how long two goroutines take to wake each
// other, alone, and while C code starts and joins threads. The goroutine of such a
// thread spins for the next one, which must not keep others from running.
func BenchmarkOtherGoroutines(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	b.Run("alone", pingPong)
	b.Run("beside threads", func(b *testing.B) {
		var stop atomic.Bool
		stopped := make(chan bool)
		go func() {
			for !stop.Load() {
				if !capitest.StartAndJoin(100) {
					b.Error("a thread was not started and joined")
					break
				}
			}
			close(stopped)
		}()
		pingPong(b)
		stop.Store(true)
		<-stopped
	})
}

func pingPong(b *testing.B) {
	there, back := make(chan int), make(chan int)
	go func() {
		for i := range there {
			back <- i
		}
		close(back)
	}()
	took := make([]time.Duration, 0, b.N)
	for i := range b.N {
		began := time.Now()
		there <- i
		<-back
		took = append(took, time.Since(began))
	}
	close(there)
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100]), "p99-ns")
	b.ReportMetric(float64(took[len(took)-1]), "max-ns")
}
