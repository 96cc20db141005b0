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

// dumping tells that threads which start are listed for Dump. Nothing else is
// published through it.
var dumping atomic.Bool

// listed has the threads that Dump writes, each as a listing under its ident,
// from before its start returns until just before its end.
var listed sync.Map

type listing struct {
	handle    *Handle
	started   time.Time
	goroutine string // its number in tracebacks; "" until the thread runs
}

// EnableDump has every thread that starts from now on listed for [Dump]. In the
// profiles of [runtime/pprof] its goroutine, and those that it starts by go
// statements, have the label "thread" with the thread's ident, in place of the
// starter's labels.
//
// To start and join a thread takes five times as long from then on. EnableDump
// never blocks and may be called any number of times, from any goroutine.
//
// It stands for Python's faulthandler.enable.
func EnableDump() { dumping.Store(true) }

// Dump writes where each thread stands that was started after [EnableDump] and
// has not ended: a line with its ident, its name, its age, and what it waits for
// and since when; and its stack, indented, with the innermost call first:
//
//	thread 7 "reader" started 5m3.21s ago [chan receive, 4 minutes]:
//		main.read(0xc000012345)
//			/home/ada/reader.go:27 +0x45
//
// Without EnableDump it writes that instead. It returns the error of w, which
// gets the whole text in one Write.
//
// Dump may be called at any time, from any goroutine. It waits for no thread,
// but all goroutines of the program stop until the runtime has written down their
// stacks: some 40 ms for 1,000.
//
// It stands for Python's faulthandler.dump_traceback.
func Dump(w io.Writer) error {
	if !dumping.Load() {
		_, err := io.WriteString(w, "pythread: no thread is listed, for EnableDump was not called\n")
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
			stack = "[not yet running]" // when the stacks were written down
		}
		age := time.Since(l.started).Round(time.Millisecond)
		fmt.Fprintf(&text, "%v started %v ago %s\n", l.handle, age, stack)
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// stacks returns what each goroutine does, and its stack, under its number.
func stacks() map[string]string {
	text := make([]byte, 1<<20)
	n := runtime.Stack(text, true)
	for n == len(text) {
		text = make([]byte, 2*n)
		n = runtime.Stack(text, true)
	}
	stacks := map[string]string{}
	for traceback := range strings.SplitSeq(string(text[:n]), "\n\n") {
		number, stack := cutNumber(traceback)
		stack, _, _ = strings.Cut(stack, "\ncreated by ") // always by startSeen
		stacks[number] = strings.ReplaceAll(strings.TrimSpace(stack), "\n", "\n\t")
	}
	return stacks
}

// cutNumber returns a goroutine's number and what follows it in the traceback,
// which begins with "goroutine 7 [running]:".
func cutNumber(traceback string) (number, rest string) {
	number, rest, _ = strings.Cut(strings.TrimPrefix(traceback, "goroutine "), " ")
	return number, rest
}

// isSeen reports whether a thread that starts now is to be listed or traced. A
// start that is neither costs these two loads, and no more.
func isSeen() bool { return dumping.Load() || trace.IsEnabled() }

// startSeen is StartWith where isSeen.
func startSeen(fn func(*Handle)) *Handle {
	h := newHandle()
	l, isListed := listing{handle: h, started: time.Now()}, dumping.Load()
	if isListed {
		listed.Store(h.ident, l)
	}
	go func() {
		defer h.finish()
		if isListed {
			defer listed.Delete(h.ident)
			l.enter()
		}
		if trace.IsEnabled() {
			defer h.beginTask()()
		}
		fn(h)
	}()
	return h
}

// enter tells Dump and the profiles that the calling goroutine is the thread's.
func (l listing) enter() {
	ident := strconv.FormatUint(uint64(l.handle.ident), 10)
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels("thread", ident)))
	text := make([]byte, 64) // has room for the longest number
	l.goroutine, _ = cutNumber(string(text[:runtime.Stack(text, false)]))
	listed.Store(l.handle.ident, l)
}

// beginTask begins the thread's task in the trace, and returns what ends it.
func (h *Handle) beginTask() (end func()) {
	ctx, task := trace.NewTask(context.Background(), "pythread.thread")
	trace.Log(ctx, "thread", h.String())
	return func() {
		if h.Name() != "" { // which it mostly gets when it has begun
			trace.Log(ctx, "thread", h.String())
		}
		task.End()
	}
}
