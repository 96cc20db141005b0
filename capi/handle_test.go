package capi_test

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/seed-c0a0ef17/pythread/capi"
	"github.com/seed-c0a0ef17/pythread/capi/internal/capitest"
	"github.com/seed-c0a0ef17/pythread/pythread"
)

func TestGoJoinsAndSelectsOnWhatCStarted(t *testing.T) {
	gate := make(chan struct{})
	n := 0
	ident, handle := capitest.Start(func() { <-gate; n++ })
	h, ok := capi.FromHandle(handle)
	if !ok || h.Ident() != ident {
		t.Fatalf("FromHandle: %v, %v; C was told %d", h, ok, ident)
	}
	select {
	case <-h.Done():
		t.Error("Done is closed while the thread runs")
	default:
	}
	close(gate)
	if value := h.Join(); value != nil || n != 1 {
		t.Errorf("Join() = %v, n = %d, want nil and 1", value, n)
	}
	<-h.Done()
	// The C handle is still valid.
	if again, ok := capi.FromHandle(handle); !ok || again != h {
		t.Errorf("FromHandle after a join in Go: %v, %v", again, ok)
	}
	if err := capitest.Join(handle); err != 0 {
		t.Errorf("a join in C after one in Go: %v", err)
	}
	if _, ok := capi.FromHandle(handle); ok {
		t.Error("FromHandle knows a spent handle")
	}
	drained(t)
}

func TestAThreadOfCsIsAThreadOfTheCore(t *testing.T) {
	var inside pythread.Ident
	var h *pythread.Handle
	var ok bool
	ident, handle := capitest.Start(func() {
		inside = capitest.Ident()
		h, ok = capi.FromIdent(inside)
	})
	capitest.Join(handle)
	if !ok || h.Ident() != ident || inside != ident {
		t.Errorf("C was told %d, sees %d inside, FromIdent gives %v, %v", ident, inside, h, ok)
	}
	// One counter for C and Go.
	if next := pythread.Start(func() {}).Ident(); next <= ident {
		t.Errorf("Go's ident %d comes after C's %d", next, ident)
	}
	drained(t)
}

func TestUnknownAndSpentHandlesAreNoThread(t *testing.T) {
	_, detached := capitest.Start(func() {})
	capitest.Detach(detached)
	live, _ := live(t)
	given, err := capi.ToHandle(live)
	if err != nil {
		t.Fatal(err)
	}
	for _, handle := range []uintptr{0, 1 << 40, ^uintptr(0), ^uintptr(0)>>1 + 1, detached, given + 1} {
		if h, ok := capi.FromHandle(handle); ok {
			t.Errorf("FromHandle(%#x) = %v", handle, h)
		}
	}
	for _, handle := range []uintptr{0, ^uintptr(0), ^uintptr(0)>>1 + 1, given + 1} {
		if err := capitest.Join(handle); err != syscall.ESRCH {
			t.Errorf("join of %#x: %v, want ESRCH", handle, err)
		}
	}
	for _, ident := range []pythread.Ident{0, 1 << 40, pythread.Ident(given), capitest.Ident()} {
		if h, ok := capi.FromIdent(ident); ok {
			t.Errorf("FromIdent(%#x) = %v", ident, h)
		}
	}
	capitest.Join(detached)
	capitest.Detach(given)
	drained(t)
}

func TestFromIdentKnowsADetachedThreadWhileItRuns(t *testing.T) {
	gate := make(chan struct{})
	ident := capitest.StartDetached(func() { <-gate })
	h, ok := capi.FromIdent(ident)
	if !ok || h.Ident() != ident {
		t.Fatalf("FromIdent(%d) = %v, %v", ident, h, ok)
	}
	if _, ok := capi.FromHandle(uintptr(ident)); ok {
		t.Error("a detached thread has a handle")
	}
	close(gate)
	h.Join()
	drained(t)
	if _, ok := capi.FromIdent(ident); ok {
		t.Error("FromIdent knows a thread that is gone")
	}
}

func TestCJoinsWhatGoStarted(t *testing.T) {
	for name, endsFirst := range map[string]bool{"before its end": false, "after its end": true} {
		t.Run(name, func(t *testing.T) {
			h, end := live(t)
			handle, err := capi.ToHandle(h)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := capi.FromHandle(handle); !ok || got != h {
				t.Errorf("FromHandle gives %v, %v, want %v", got, ok, h)
			}
			if endsFirst {
				end()
			}
			joined := make(chan syscall.Errno)
			go func() { joined <- capitest.Join(handle) }()
			select {
			case err := <-joined:
				if !endsFirst {
					t.Error("joined a thread that runs")
				}
				go func() { joined <- err }()
			default:
			}
			end()
			if err := <-joined; err != 0 {
				t.Errorf("join: %v", err)
			}
			if err := capitest.Join(handle); err != syscall.EINVAL {
				t.Errorf("second join: %v, want EINVAL", err)
			}
			if err := capitest.Detach(handle); err != syscall.EINVAL {
				t.Errorf("detach of a spent handle: %v, want EINVAL", err)
			}
			drained(t)
		})
	}
}

func TestCDetachesWhatGoStarted(t *testing.T) {
	h, end := live(t)
	handle, _ := capi.ToHandle(h)
	if err := capitest.Detach(handle); err != 0 {
		t.Errorf("detach: %v", err)
	}
	if err := capitest.Join(handle); err != syscall.EINVAL {
		t.Errorf("join after detach: %v, want EINVAL", err)
	}
	drained(t) // also while the thread runs
	end()
}

func TestEachToHandleIsARightOfItsOwn(t *testing.T) {
	h, end := live(t)
	seen := map[uintptr]bool{}
	for range 100 {
		handle, err := capi.ToHandle(h)
		if err != nil || handle == 0 || seen[handle] {
			t.Fatalf("ToHandle: %#x, %v", handle, err)
		}
		seen[handle] = true
	}
	end()
	for handle := range seen {
		if err := capitest.Join(handle); err != 0 {
			t.Errorf("join of %#x: %v", handle, err)
		}
	}
	drained(t)
}

func TestToHandleOfNoThreadIsAnError(t *testing.T) {
	for _, h := range []*pythread.Handle{nil, new(pythread.Handle)} {
		if handle, err := capi.ToHandle(h); handle != 0 || err != capi.ErrNoThread {
			t.Errorf("ToHandle(%v) = %#x, %v", h, handle, err)
		}
	}
	drained(t)
}

func TestAThreadThatPanickedCanBeJoinedByC(t *testing.T) {
	h := pythread.Start(func() { panic("out") })
	handle, _ := capi.ToHandle(h)
	if err := capitest.Join(handle); err != 0 {
		t.Errorf("join: %v", err)
	}
	if value := h.Join(); value != "out" {
		t.Errorf("Join() = %v", value)
	}
	drained(t)
}

func TestOneDetachOfManySucceeds(t *testing.T) {
	for range 200 {
		h := pythread.Start(func() {})
		handle, _ := capi.ToHandle(h)
		var succeeded atomic.Int32
		var all sync.WaitGroup
		for range 8 {
			all.Add(1)
			go func() {
				defer all.Done()
				switch err := capitest.Detach(handle); err {
				case 0:
					succeeded.Add(1)
				case syscall.EINVAL:
				default:
					t.Errorf("detach: %v", err)
				}
			}()
		}
		all.Wait()
		if n := succeeded.Load(); n != 1 {
			t.Fatalf("%d detaches succeeded", n)
		}
	}
	drained(t)
}

func TestHandlesOfGoThreadsAreCountedAsHandles(t *testing.T) {
	h, _ := live(t)
	threads, handles := capitest.Stats()
	handle, _ := capi.ToHandle(h)
	if th, ha := capitest.Stats(); th != threads || ha != handles+1 {
		t.Errorf("%d threads and %d handles, want %d and %d", th, ha, threads, handles+1)
	}
	capitest.Detach(handle)
	if th, ha := capitest.Stats(); th != threads || ha != handles {
		t.Errorf("%d threads and %d handles, want %d and %d", th, ha, threads, handles)
	}
}

func TestManyThreadsOfBothSidesLeaveNothing(t *testing.T) {
	const goroutines, rounds = 8, 500
	var all sync.WaitGroup
	for i := range goroutines {
		all.Add(1)
		go func() {
			defer all.Done()
			for j := range rounds {
				_, handle := capitest.Start(func() {})
				h, ok := capi.FromHandle(handle)
				if !ok {
					t.Error("a valid handle has no thread")
					return
				}
				own, _ := capi.ToHandle(pythread.Start(func() {}))
				if j%2 == 0 {
					h.Join()
				}
				for _, handle := range []uintptr{handle, own} {
					err := syscall.Errno(0)
					if (i+j)%3 == 0 {
						err = capitest.Detach(handle)
					} else {
						err = capitest.Join(handle)
					}
					if err != 0 {
						t.Error(err)
					}
				}
			}
		}()
	}
	all.Wait()
	drained(t)
}

func TestNameThatAThreadGivesItselfInCIsItsHandles(t *testing.T) {
	named, end := make(chan struct{}), make(chan struct{})
	ident, handle := capitest.Start(func() {
		capitest.SetName("reader")
		close(named)
		<-end
	})
	<-named
	h, ok := capi.FromIdent(ident)
	if !ok || h.Name() != "reader" {
		t.Errorf("the thread's name in Go is %v, want reader", h)
	}
	close(end)
	if errno := capitest.Join(handle); errno != 0 {
		t.Error(errno)
	}
	drained(t)
}

func TestNameGivenInDoIsTheThreadsAndNotTheOSThreads(t *testing.T) {
	h, _ := live(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	name := func() string {
		text, err := os.ReadFile("/proc/thread-self/comm")
		if err != nil {
			t.Skip(err)
		}
		return string(text)
	}
	before := name()
	capi.Do(h, func() { capitest.SetName("guest") })
	if got := h.Name(); got != "guest" {
		t.Errorf("the thread's name is %q, want guest", got)
	}
	if after := name(); after != before {
		t.Errorf("the OS thread's name was %q before and is %q after", before, after)
	}
	drained(t)
}
