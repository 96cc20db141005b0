//go:build !race

package pythread

import (
	"runtime"
	"runtime/pprof"
	"sync"
	"testing"
)

// The race detector allows 8,000 goroutines.

func TestParkedGoroutinesTakeNoOSThreadsAndLittleMemory(t *testing.T) {
	const goroutines, most = 100_000, 4096 // bytes each: twice a goroutine's stack
	threads := pprof.Lookup("threadcreate").Count()
	m := heldMutex()
	var all sync.WaitGroup
	before := memoryInUse()
	for range goroutines {
		all.Add(1)
		go func() {
			defer all.Done()
			m.Lock()
			m.Unlock()
		}()
	}
	untilParked(t, m, goroutines)
	if each := (memoryInUse() - before) / goroutines; each > most {
		t.Errorf("each takes %d bytes, more than %d", each, most)
	}
	// A few may be made for the collector and for system calls.
	if now := pprof.Lookup("threadcreate").Count(); now > threads+20 {
		t.Errorf("%d OS threads more", now-threads)
	}
	m.Unlock()
	all.Wait()
	checkMutexFree(t, m)
}

func memoryInUse() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapInuse + stats.StackInuse
}
