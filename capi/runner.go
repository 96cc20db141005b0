package capi

// #include "thread/runner.h"
import "C"

import (
	"sync/atomic"
	"unsafe"
)

// A runner is a goroutine that runs C threads, one after another. After a thread
// it waits for a while for the next one, in C, on its OS thread. A start that finds
// a runner gives the thread to it. That is faster than to start a goroutine, because
// the system wakes an OS thread sooner than Go's scheduler does.
//
// The runner that waits is in waiting; one is enough. A compare-and-swap takes it
// out. If a start takes it out, the start sets next and calls the runner. If the
// runner takes itself out, it ends. So one runner runs each thread that a start
// gives away, and no thread is given to a runner that has ended.
type runner struct {
	// The runner waits on word (runner.c).
	word atomic.Uint32
	next *thread
}

var waiting atomic.Pointer[runner]

func (r *runner) cWord() *C.atomic_uint { return (*C.atomic_uint)(unsafe.Pointer(&r.word)) }

// start gives the thread to a runner, the one that waits or a new one.
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

// wait returns the next thread, or nil if none comes for a while.
func (r *runner) wait(isQuick bool) *thread {
	r.word.Store(C.RUNNER_LOOKS)
	if !waiting.CompareAndSwap(nil, r) {
		return nil
	}
	if !bool(C.runner_wait(r.cWord(), C.bool(isQuick))) && waiting.CompareAndSwap(r, nil) {
		return nil
	}
	// A start has taken the runner out, and calls it now.
	C.runner_wait_for_call(r.cWord())
	// C has seen the call. The race detector sees what Go code loads.
	r.word.Load()
	return r.next
}
