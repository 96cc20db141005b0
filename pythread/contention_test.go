package pythread

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What the tests of Lock and Mutex share: contention.

// checkNeighbours checks that goroutines that lock all the time do not starve
// another one.
func checkNeighbours(lock, unlock func()) {
	var stop atomic.Bool
	var neighbours sync.WaitGroup
	for range 4 {
		neighbours.Add(1)
		go func() {
			defer neighbours.Done()
			for !stop.Load() {
				lock()
				unlock()
			}
		}()
	}
	for range 100 { // if a lock starved, the test would time out
		lock()
		unlock()
		runtime.Gosched()
	}
	stop.Store(true)
	neighbours.Wait()
}

// checkCounter checks that goroutines lose no count that only a lock guards. It does
// so for each number of goroutines. newLock returns functions that lock, unlock and
// finally check a new lock.
func checkCounter(t *testing.T, numbers []int, newLock func() (somehow func(*rand.Rand) LockStatus, unlock, checkFree func())) {
	ops := 300_000 // for each number of goroutines
	if testing.Short() {
		ops /= 20
	}
	for _, goroutines := range numbers {
		t.Run(fmt.Sprint(goroutines), func(t *testing.T) {
			somehow, unlock, checkFree := newLock()
			counter := 0            // guarded by the lock alone
			var locked atomic.Int64 // what counter has to be
			var all sync.WaitGroup
			for i := range goroutines {
				all.Add(1)
				go func() {
					defer all.Done()
					random := rand.New(rand.NewPCG(uint64(goroutines), uint64(i)))
					n := 0
					for range ops / goroutines {
						if somehow(random) != Acquired {
							continue
						}
						n++
						counter++
						if random.IntN(500) == 0 {
							runtime.Gosched() // let others queue
						}
						if random.IntN(5000) == 0 {
							time.Sleep(50 * time.Microsecond) // let others time out
						}
						unlock()
					}
					locked.Add(int64(n))
				}()
			}
			all.Wait()
			if want := int(locked.Load()); counter != want {
				t.Errorf("counter is %d after %d locks", counter, want)
			}
			checkFree()
		})
	}
}
