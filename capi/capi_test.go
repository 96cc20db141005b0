package capi_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/seed-c0a0ef17/pythread/capi"
	"github.com/seed-c0a0ef17/pythread/pythread"
)

// eventually waits until the condition holds, which must be soon.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for start := time.Now(); !condition(); time.Sleep(time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("not so after 20 s: %s", what)
		}
	}
}

// drained waits until the package keeps nothing for any thread.
func drained(t *testing.T) {
	t.Helper()
	eventually(t, "no thread is listed", func() bool { return capi.Listed() == 0 })
	eventually(t, "there is no guest", func() bool { return capi.Guests() == 0 })
}

// recovered returns what f panics with.
func recovered(f func()) (value any) {
	defer func() { value = recover() }()
	f()
	return nil
}

// live starts a thread that runs until the test lets it end, or until the test ends.
func live(t *testing.T) (h *pythread.Handle, end func()) {
	gate := make(chan struct{})
	h = pythread.Start(func() { <-gate })
	ended := false
	end = func() {
		if !ended {
			ended = true
			close(gate)
			h.Join()
		}
	}
	t.Cleanup(end)
	return h, end
}

// elsewhere calls f on another goroutine, which has another OS thread.
func elsewhere(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}
