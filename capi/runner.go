package capi

// #include "thread/runner.h"
import "C"

import (
	"sync/atomic"
	"unsafe"
)

// A runner is a goroutine that runs threads of C's, one after another. After a
// thread it waits a while for another one, in C, on its OS thread. A start that
// finds a runner there hands the thread over, and needs no scheduler: Go's takes
// longer to start a goroutine than the system takes to wake an OS thread.
//
// The runner that waits is in waiting; one is enough. Whoever takes it out by a
// compare-and-swap decides what comes next: a start, which then sets next and
// calls it; or the runner itself, which then ends. So each thread that is handed
// over is run, by one runner, and none is handed to a runner that has ended.
type runner struct {
	// word is what the runner waits on: see runner.c.
	word atomic.Uint32
	next *thread
}

var waiting atomic.Pointer[runner]

func (r *runner) cWord() *C.atomic_uint { return (*C.atomic_uint)(unsafe.Pointer(&r.word)) }

// start has a runner run the thread.
func (t *thread) start() {
	r := waiting.Load()
	if r == nil || !waiting.CompareAndSwap(r, nil) {
		go run(t)
		return
	}
	r.next = t
	// The swap publishes next.
	if r.word.Swap(C.RUNNER_IS_CALLED) == C.RUNNER_SLEEPS {
		C.runner_wake(r.cWord())
	}
}

// run runs t, and the threads that follow it.
func run(t *thread) {
	var r *runner
	for t != nil && t.main() {
		if r == nil {
			r = new(runner)
		}
		t = r.wait(t.isQuick)
	}
}

// wait returns the next thread, nil where there is none for a while.
func (r *runner) wait(isQuick bool) *thread {
	r.word.Store(C.RUNNER_LOOKS)
	if !waiting.CompareAndSwap(nil, r) {
		return nil
	}
	if !bool(C.runner_wait(r.cWord(), C.bool(isQuick))) && waiting.CompareAndSwap(r, nil) {
		return nil
	}
	// A start has taken the runner out. It calls now, if it has not yet.
	C.runner_wait_for_call(r.cWord())
	return r.next
}
