package pythread

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// dumping is nil until EnableDump, and then the lister. So the linker leaves the
// functions of the lister out of programs without EnableDump. No other memory is
// published through dumping.
var dumping atomic.Pointer[lister]

// lister has the functions that list a thread, and that run fn as a listed thread.
type lister struct {
	add func(h *Handle)
	run func(h *Handle, fn func(*Handle))
}

// listed has the threads that Dump writes: for each ident a listing, from before
// the thread's start returns until just before its end.
var listed sync.Map

type listing struct {
	handle    *Handle
	started   time.Time
	goroutine string // its number in tracebacks; "" until the thread runs
}

// EnableDump makes [Dump] list every thread that starts from now on. In profiles
// of [runtime/pprof] the thread's goroutine, and the goroutines that it starts by
// go statements, have the label "thread" with its ident.
//
// From then on the start and join of a thread take five times as long. EnableDump
// never blocks and may be called any number of times, from any goroutine.
//
// It stands for Python's faulthandler.enable.
func EnableDump() {
	dumping.Store(&lister{add: list, run: runListed})
}

// Dump writes what each thread does that was started after [EnableDump] and has
// not ended. A line has its ident, its name, its age, what it waits for, and how
// long. The indented stack follows, with the innermost call first:
//
//	thread 7 "reader" started 5m3.21s ago [chan receive, 4 minutes]:
//		main.read(0xc000012345)
//			/home/ada/reader.go:27 +0x45
//
// Without EnableDump it writes a line that says so. It writes the whole text to w
// in one Write, and returns the error of that.
//
// Dump may be called at any time, from any goroutine. It does not wait for
// threads, but all goroutines of the program stop until the runtime has collected
// their stacks: about 40 ms for 1,000.
//
// It stands for Python's faulthandler.dump_traceback.
func Dump(w io.Writer) error {
	if dumping.Load() == nil {
		_, err := io.WriteString(w, "pythread: no thread is listed, because EnableDump was not called\n")
		return err
	}
	stacks := stacks()
	var threads []listing
	for _, l := range listed.Range {
		threads = append(threads, l.(listing))
	}
	slices.SortFunc(threads, func(a, b listing) int { return cmp.Compare(a.handle.ident, b.handle.ident) })
	var text strings.Builder
	for _, l := range threads {
		stack, ok := stacks[l.goroutine]
		if !ok {
			stack = "[not yet running]" // when the runtime collected the stacks
		}
		fmt.Fprintf(&text, "%v started %v ago %s\n", l.handle, time.Since(l.started).Round(time.Millisecond), stack)
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// stacks returns the state and the indented stack of each goroutine, by its number.
func stacks() map[string]string {
	n, text := 0, make([]byte, 1<<20)
	for n = runtime.Stack(text, true); n == len(text); n = runtime.Stack(text, true) {
		text = make([]byte, 2*n)
	}
	stacks := map[string]string{}
	for traceback := range strings.SplitSeq(string(text[:n]), "\n\n") {
		number, stack := cutNumber(traceback)
		stack, _, _ = strings.Cut(stack, "\ncreated by ") // this package
		stacks[number] = strings.ReplaceAll(strings.TrimSpace(stack), "\n", "\n\t")
	}
	return stacks
}

// cutNumber splits a traceback, such as "goroutine 7 [running]:", after the number.
func cutNumber(traceback string) (number, rest string) {
	number, rest, _ = strings.Cut(strings.TrimPrefix(traceback, "goroutine "), " ")
	return
}

// isSeen reports whether a thread that starts now is listed or traced. Other
// threads pay only for these two loads.
func isSeen() bool { return dumping.Load() != nil || trace.IsEnabled() }

// runSeen is run for a thread that is listed or traced.
func (h *Handle) runSeen(fn func(*Handle)) {
	defer h.finish()
	if trace.IsEnabled() {
		defer h.beginTask()()
	}
	if list := dumping.Load(); list != nil {
		list.run(h, fn)
	} else {
		fn(h)
	}
}

// list lists a thread that does not run yet.
func list(h *Handle) { listed.Store(h.ident, listing{handle: h, started: time.Now()}) }

// runListed runs fn, and lists the thread until fn returns.
func runListed(h *Handle, fn func(*Handle)) {
	l := listing{handle: h, started: time.Now()}
	if before, ok := listed.Load(h.ident); ok { // false if EnableDump was called after the start
		l = before.(listing)
	}
	defer listed.Delete(h.ident)
	label := pprof.Labels("thread", strconv.FormatUint(uint64(h.ident), 10))
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), label))
	text := make([]byte, 64) // enough for the longest number
	l.goroutine, _ = cutNumber(string(text[:runtime.Stack(text, false)]))
	listed.Store(h.ident, l)
	fn(h)
}

// beginTask begins the thread's task in the trace, and returns a function that ends it.
func (h *Handle) beginTask() (end func()) {
	ctx, task := trace.NewTask(context.Background(), "pythread.thread")
	trace.Log(ctx, "thread", h.String())
	return func() {
		trace.Log(ctx, "thread", h.String()) // the thread may have a name by now
		task.End()
	}
}
