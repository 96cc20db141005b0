package capi_test

import (
	"sync"
	"testing"

	"github.com/seed-c0a0ef17/pythread/capi/internal/capitest"
)

// cleanly makes threads run on used OS threads only while they cannot tell.
func cleanly(t *testing.T) {
	t.Helper()
	if !capitest.ReuseClean() {
		t.Skip("the mode CLEAN does not exist here")
	}
}

func TestThreadLocalVariablesOfTheProgramAreNewInEachThread(t *testing.T) {
	cleanly(t)
	for i := range 3000 {
		// Several threads that leave nothing, so that threads share OS threads.
		if foundInitial, _ := capitest.Visit(i%50 == 0 || i%7 == 0); !foundInitial {
			t.Fatalf("thread %d found what another has left", i)
		}
	}
}

func TestThreadLocalVariablesOfTheProgramAreNewInManyThreadsAtOnce(t *testing.T) {
	cleanly(t)
	var visits sync.WaitGroup
	for range 16 {
		visits.Add(1)
		go func() {
			defer visits.Done()
			for i := range 200 {
				if foundInitial, _ := capitest.Visit(i%50 == 0); !foundInitial {
					t.Errorf("thread %d found what another has left", i)
				}
			}
		}()
	}
	visits.Wait()
}

func TestThreadsThatLeaveNothingShareOSThreads(t *testing.T) {
	cleanly(t)
	shared, before := 0, uint64(0)
	for range 1000 {
		_, osThread := capitest.Visit(false)
		if osThread == before {
			shared++
		}
		before = osThread
	}
	if shared == 0 {
		t.Error("each had an OS thread of its own")
	}
}
