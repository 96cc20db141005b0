package pythread

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestInitMayBeCalledAnyNumberOfTimes(t *testing.T) {
	for range 3 {
		Init()
	}
	if got := Start(func() { Init() }).Join(); got != nil {
		t.Errorf("Init in a thread panicked: %v", got)
	}
}

func TestStacksizeIsDefaultAndCannotBeSet(t *testing.T) {
	for _, size := range []int{0, 1, -1, 32768, 1 << 30} {
		if got := SetStacksize(size); got != -2 {
			t.Errorf("SetStacksize(%d) = %d, want -2", size, got)
		}
		if got := GetStacksize(); got != 0 {
			t.Errorf("GetStacksize() = %d after SetStacksize(%d), want 0", got, size)
		}
	}
}

// goroutine returns the number that a traceback gives the calling goroutine.
func goroutine() string {
	trace := make([]byte, 64)
	return strings.Fields(string(trace[:runtime.Stack(trace, false)]))[1]
}

func TestFnRunsOnceOnAnotherGoroutine(t *testing.T) {
	for name, start := range starters {
		t.Run(name, func(t *testing.T) {
			var runs atomic.Int32
			var where string
			start(func() {
				runs.Add(1)
				where = goroutine()
			}).Join()
			if got := runs.Load(); got != 1 {
				t.Errorf("fn ran %d times, want 1", got)
			}
			if here := goroutine(); where == here {
				t.Errorf("fn ran on its caller's goroutine %s", here)
			}
		})
	}
}

// starters are the two ways to start a function that takes nothing.
var starters = map[string]func(fn func()) *Handle{
	"Start":     Start,
	"StartWith": func(fn func()) *Handle { return StartWith(func(*Handle) { fn() }) },
}

func TestStartWithGivesFnItsOwnHandle(t *testing.T) {
	var own *Handle
	h := StartWith(func(h *Handle) { own = h })
	h.Join()
	if own != h {
		t.Errorf("fn got handle %p, StartWith returned %p", own, h)
	}
}

func TestNilFnPanicsInTheCaller(t *testing.T) {
	for name, start := range map[string]func(){
		"Start":     func() { Start(nil) },
		"StartWith": func() { StartWith(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			want := "pythread: " + name + " of a nil function"
			if got := recovered(start); got != want {
				t.Errorf("panicked with %v, want %q", got, want)
			}
		})
	}
}

// recovered returns what f panics with.
func recovered(f func()) (value any) {
	defer func() { value = recover() }()
	f()
	return nil
}

func TestIdentsAreUnique(t *testing.T) {
	// The race detector allows 8,000 goroutines, so few threads live at once.
	// All the starters start threads at the same time, for a long time.
	const starters, rounds, batch = 50, 40, 50
	idents := make([][]Ident, starters)
	var all sync.WaitGroup
	for i := range starters {
		all.Add(1)
		go func() {
			defer all.Done()
			for range rounds {
				var handles [batch]*Handle
				var inside [batch]Ident
				for j := range batch {
					handles[j] = StartWith(func(h *Handle) { inside[j] = h.Ident() })
				}
				for j, h := range handles {
					h.Join()
					if inside[j] != h.Ident() {
						t.Errorf("ident is %d inside the thread and %d outside", inside[j], h.Ident())
					}
					idents[i] = append(idents[i], h.Ident())
				}
			}
		}()
	}
	all.Wait()
	seen := make(map[Ident]bool)
	for _, some := range idents {
		for _, ident := range some {
			if ident == 0 || seen[ident] {
				t.Fatalf("ident %d is zero or was given twice", ident)
			}
			seen[ident] = true
		}
	}
	if len(seen) != starters*rounds*batch {
		t.Errorf("%d idents, want %d", len(seen), starters*rounds*batch)
	}
}

func TestJoinTellsHowTheThreadEnded(t *testing.T) {
	failure := errors.New("failure")
	var zeroMap map[string]int
	for _, c := range []struct {
		name string
		fn   func()
		want func(any) bool
	}{
		{"return", func() {}, equals(nil)},
		{"string", func() { panic("out") }, equals("out")},
		{"error", func() { panic(failure) }, equals(failure)},
		{"struct", func() { panic(struct{ a, b int }{1, 2}) }, equals(struct{ a, b int }{1, 2})},
		{"nil", func() { panic(nil) }, is[*runtime.PanicNilError]},
		{"runtime error", func() { zeroMap["x"] = 1 }, is[runtime.Error]},
		{"recovered in fn", func() { recovered(func() { panic("out") }) }, equals(nil)},
		{"panic in a deferred call", func() { defer panic("second"); panic("first") }, equals("second")},
		{"Goexit", runtime.Goexit, equals(nil)},
		{"Goexit in a nested call", func() { func() { defer func() {}(); runtime.Goexit() }() }, equals(nil)},
		{"panic during Goexit", func() { defer panic("out"); runtime.Goexit() }, equals("out")},
		{"Goexit during a panic", func() { defer runtime.Goexit(); panic("out") }, equals(nil)},
	} {
		for name, start := range starters {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				if got := start(c.fn).Join(); !c.want(got) {
					t.Errorf("Join() = %#v", got)
				}
			})
		}
	}
}

func equals(want any) func(any) bool {
	return func(got any) bool { return got == want }
}

func is[T any](got any) bool {
	_, ok := got.(T)
	return ok
}

func TestEveryJoinGetsTheSameValue(t *testing.T) {
	value := new(int)
	gate := make(chan struct{})
	h := Start(func() {
		<-gate
		panic(value)
	})
	var all sync.WaitGroup
	for range 64 {
		all.Add(1)
		go func() {
			defer all.Done()
			for range 10 {
				if got := h.Join(); got != value {
					t.Errorf("Join() = %v, want %v", got, value)
				}
			}
		}()
	}
	close(gate)
	all.Wait()
}

func TestWhatTheThreadDidHappensBeforeJoinReturns(t *testing.T) {
	// The race detector reports it if this is not so.
	for range 1000 {
		n := 0
		h := Start(func() { n++ })
		var all sync.WaitGroup
		for range 4 {
			all.Add(1)
			go func() {
				defer all.Done()
				h.Join()
				if n != 1 {
					t.Errorf("n = %d after Join, want 1", n)
				}
			}()
		}
		all.Wait()
	}
}

func TestDoneIsClosedWhenTheThreadHasEnded(t *testing.T) {
	gate := make(chan struct{})
	h := Start(func() { <-gate })
	select {
	case <-h.Done():
		t.Error("Done is closed while the thread runs")
	default:
	}
	if h.Done() != h.Done() {
		t.Error("two calls of Done return different channels")
	}
	close(gate)
	<-h.Done()
	h.Join() // if this blocked, the test would time out
	<-h.Done()
}

func TestThreadsStartAndJoinThreads(t *testing.T) {
	var leaves atomic.Int32
	var grow func(depth int)
	grow = func(depth int) {
		if depth == 0 {
			leaves.Add(1)
			return
		}
		left, right := Start(func() { grow(depth - 1) }), Start(func() { grow(depth - 1) })
		left.Join()
		right.Join()
	}
	Start(func() { grow(8) }).Join()
	if got := leaves.Load(); got != 256 {
		t.Errorf("%d leaves, want 256", got)
	}
}

func TestNoGoroutineOutlivesItsThread(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 10 {
		var handles []*Handle
		for i := range 300 {
			handles = append(handles, Start([]func(){
				func() {},
				func() { panic("out") },
				runtime.Goexit,
			}[i%3]))
		}
		for _, h := range handles {
			h.Join()
		}
	}
	// A thread's goroutine may take a moment to go when Join has returned.
	eventually(t, func() error {
		if after := runtime.NumGoroutine(); after > before {
			return fmt.Errorf("%d goroutines, %d before", after, before)
		}
		return nil
	})
}

func TestKeptHandleDoesNotKeepWhatFnCaptured(t *testing.T) {
	var gone atomic.Bool
	start := func() *Handle {
		captured := new([1 << 10]byte)
		runtime.AddCleanup(captured, func(struct{}) { gone.Store(true) }, struct{}{})
		return Start(func() { captured[0] = 1 })
	}
	h := start()
	h.Join()
	eventually(t, func() error {
		runtime.GC()
		if !gone.Load() {
			return errors.New("fn's variable has not been collected")
		}
		return nil
	})
	runtime.KeepAlive(h)
}

// eventually calls ok until it returns nil. It fails the test with the last error
// after a time that is long even on a busy machine.
func eventually(t *testing.T, ok func() error) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestNameIsTheLastThatWasSet(t *testing.T) {
	end := make(chan struct{})
	h := Start(func() { <-end })
	if got := h.Name(); got != "" {
		t.Errorf("a new thread's name is %q", got)
	}
	h.SetName("reader")
	h.SetName("writer of a long name")
	if got := h.Name(); got != "writer of a long name" {
		t.Errorf("the name is %q", got)
	}
	close(end)
	h.Join()
	if got := h.Name(); got != "writer of a long name" {
		t.Errorf("when the thread has ended its name is %q", got)
	}
	h.SetName("")
	if got := h.Name(); got != "" {
		t.Errorf("after SetName of nothing the name is %q", got)
	}
}

func TestNamesPanicsAndValuesMeetInAnyOrder(t *testing.T) {
	var key TSS[int]
	for range 200 {
		begin := make(chan struct{})
		h := StartWith(func(h *Handle) {
			<-begin
			key.Set(h, 1)
			panic("out of cheese")
		})
		var all sync.WaitGroup
		for range 4 {
			all.Add(1)
			go func() {
				defer all.Done()
				h.SetName("named")
			}()
		}
		close(begin)
		all.Wait()
		if got := h.Join(); got != "out of cheese" {
			t.Fatalf("the thread panicked with %v", got)
		}
		if got := h.Name(); got != "named" {
			t.Fatalf("the name is %q", got)
		}
	}
}

func TestStringTellsIdentAndName(t *testing.T) {
	h := Start(func() {})
	ident := strconv.Itoa(int(h.Ident()))
	if got, want := h.String(), "thread "+ident; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	h.SetName("a \"b\"")
	if got, want := fmt.Sprint(h), "thread "+ident+` "a \"b\""`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
