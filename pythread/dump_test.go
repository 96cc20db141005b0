package pythread

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strings"
	"sync"
	"testing"
)

// setDumping is EnableDump, or its opposite, until the test is over.
func setDumping(t testing.TB, on bool) {
	before := dumping.Swap(nil)
	t.Cleanup(func() { dumping.Store(before) })
	if on {
		EnableDump()
	}
}

func dump(t testing.TB) string {
	var text strings.Builder
	if err := Dump(&text); err != nil {
		t.Error(err)
	}
	return text.String()
}

// dumped returns the end of the thread's line in a dump, and the stack below.
func dumped(t testing.TB, h *Handle) (line, stack string) {
	_, text, _ := strings.Cut("\n"+dump(t), "\n"+h.String()+" started ")
	line, text, _ = strings.Cut(text, "\n")
	for call := range strings.Lines(text) {
		if call[0] != '\t' {
			break
		}
		stack += call
	}
	return line, stack
}

func isDumped(t testing.TB, h *Handle) bool {
	line, _ := dumped(t, h)
	return line != ""
}

// deep calls fn below that many calls of its own.
func deep(calls int, fn func()) {
	if calls > 0 {
		deep(calls-1, fn)
	} else {
		fn()
	}
}

func TestDumpTellsWhatAThreadWaitsFor(t *testing.T) {
	setDumping(t, true)
	end := make(chan struct{})
	var lock Lock
	lock.Acquire()
	other := Start(func() { <-end })
	var all []*Handle
	for _, c := range []struct {
		name  string
		wait  func()
		state string
		call  string
	}{
		{"channel", func() { <-end }, "[chan receive]:", "TestDumpTellsWhatAThreadWaitsFor"},
		{"lock", func() { lock.Acquire(); lock.Release() }, "[chan receive]:", ".(*Lock).Acquire("},
		{"timed", func() { lock.AcquireTimed(TimeoutMax); lock.Release() }, "[select]:", ".(*Lock).AcquireTimed("},
		{"join", func() { other.Join() }, "[sync.Cond.Wait]:", ".(*Handle).Join("},
		{"many calls", func() { deep(1000, func() { <-end }) }, "[chan receive]:", ".deep("},
		{"labels of its own", func() {
			pprof.SetGoroutineLabels(t.Context())
			<-end
		}, "[chan receive]:", "TestDumpTellsWhatAThreadWaitsFor"},
	} {
		for name, start := range starters {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				h := start(c.wait)
				all = append(all, h)
				h.SetName("waits for \"" + c.name + "\"")
				eventually(t, func() error {
					line, stack := dumped(t, h)
					if !strings.HasSuffix(line, "s ago "+c.state) {
						return fmt.Errorf("the line ends with %q, want %q", line, c.state)
					}
					if !strings.Contains(stack, c.call) || !strings.Contains(stack, "/dump_test.go:") {
						return fmt.Errorf("the stack has no call of %q:\n%s", c.call, stack)
					}
					return nil
				})
			})
		}
	}
	close(end)
	lock.Release()
	for _, h := range append(all, other) {
		h.Join()
	}
}

func TestDumpHasALineForEachThreadByIdent(t *testing.T) {
	setDumping(t, true)
	end := make(chan struct{})
	var want []string
	var threads []*Handle
	for i := range 100 {
		h := Start(func() { <-end })
		if i%2 == 0 {
			h.SetName(fmt.Sprint("a\nb", i))
		}
		threads, want = append(threads, h), append(want, h.String())
	}
	var got []string
	line := regexp.MustCompile(`(?m)^(thread .*) started [0-9a-z.µ]+ ago \[.*\]:?$`)
	for _, match := range line.FindAllStringSubmatch(dump(t), -1) {
		got = append(got, match[1])
	}
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("the lines are of\n%s\nwant\n%s", a, b)
	}
	close(end)
	for _, h := range threads {
		h.Join()
	}
}

func TestEndedThreadIsNotDumped(t *testing.T) {
	setDumping(t, true)
	for _, c := range []struct {
		name string
		fn   func()
		want any
	}{
		{"return", func() {}, nil},
		{"panic", func() { panic("out") }, "out"},
		{"Goexit", runtime.Goexit, nil},
		{"panic during Goexit", func() { defer panic("out"); runtime.Goexit() }, "out"},
	} {
		for name, start := range starters {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				end := make(chan struct{})
				h := start(func() { <-end; c.fn() })
				if !isDumped(t, h) {
					t.Error("the thread is not dumped while it runs")
				}
				close(end)
				if got := h.Join(); got != c.want {
					t.Errorf("Join() = %v, want %v", got, c.want)
				}
				if isDumped(t, h) {
					t.Error("the thread is dumped after its end")
				}
			})
		}
	}
}

func TestThreadOfBeforeEnableDumpIsNotDumped(t *testing.T) {
	setDumping(t, false)
	end := make(chan struct{})
	h := Start(func() { <-end })
	if got, want := dump(t), "pythread: no thread is listed, because EnableDump was not called\n"; got != want {
		t.Errorf("the dump is %q, want %q", got, want)
	}
	EnableDump()
	if isDumped(t, h) {
		t.Error("the thread is dumped")
	}
	close(end)
	h.Join()
}

func TestDumpReturnsTheErrorOfItsWriter(t *testing.T) {
	r, w := io.Pipe()
	want := errors.New("full")
	r.CloseWithError(want)
	for _, on := range []bool{false, true} {
		setDumping(t, on)
		if got := Dump(w); got != want {
			t.Errorf("the error is %v, want %v", got, want)
		}
	}
}

func TestThreadsStartAndEndDuringDumps(t *testing.T) {
	setDumping(t, true)
	rounds := 200
	if testing.Short() {
		rounds /= 10
	}
	var starting sync.WaitGroup
	for range 8 {
		starting.Add(1)
		go func() {
			defer starting.Done()
			for range rounds {
				var threads [20]*Handle
				for i := range threads {
					threads[i] = StartWith(func(h *Handle) {
						h.SetName("brief")
						if i%2 == 0 {
							panic(i)
						}
					})
				}
				for _, h := range threads {
					h.Join()
					if _, ok := listed.Load(h.Ident()); ok {
						t.Errorf("%v is listed after its end", h)
					}
				}
			}
		}()
	}
	end := make(chan struct{})
	dumpers := make([]*Handle, 3)
	for i := range dumpers {
		dumpers[i] = StartWith(func(h *Handle) {
			for {
				select {
				case <-end:
					return
				default:
				}
				if line, _ := dumped(t, h); !strings.HasSuffix(line, "[running]:") {
					t.Errorf("the thread that dumps has the line %q", line)
				}
			}
		})
	}
	starting.Wait()
	close(end)
	for _, h := range dumpers {
		h.Join()
	}
}

func TestProfilesLabelAThreadWithItsIdent(t *testing.T) {
	setDumping(t, true)
	begun, end := make(chan struct{}), make(chan struct{})
	h := Start(func() { close(begun); <-end })
	<-begun
	var profile strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf(`{"thread":"%d"}`, h.Ident()); !strings.Contains(profile.String(), want) {
		t.Errorf("no goroutine has the label %s:\n%s", want, &profile)
	}
	close(end)
	h.Join()
}

func TestThreadIsATaskOfATrace(t *testing.T) {
	setDumping(t, false)
	var traced bytes.Buffer
	if err := trace.Start(&traced); err != nil {
		t.Skip(err) // as with go test -trace
	}
	var want []string
	for i, start := range starters {
		h := start(func() { panic("out") })
		if got := h.Join(); got != "out" {
			t.Errorf("Join() = %v, want out", got)
		}
		begun, end := make(chan struct{}), make(chan struct{})
		named := start(func() { close(begun); <-end })
		<-begun
		named.SetName(i)
		want = append(want, h.String(), named.String())
		close(end)
		named.Join()
	}
	trace.Stop()
	for _, text := range append(want, "pythread.thread") {
		if !bytes.Contains(traced.Bytes(), []byte(text)) {
			t.Errorf("the trace has no %q", text)
		}
	}
}
