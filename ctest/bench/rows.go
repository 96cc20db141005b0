package main

import (
	"fmt"
	"slices"
	"strconv"
)

// Our layers: libpythread in two of its modes, and the Go package.
const (
	clean     = "CLEAN"
	always    = "ALWAYS"
	goPackage = "pythread"
)

// group has the rows of the table under one heading.
type group struct {
	title   string
	columns []column
	works   []work
	// What keeps rows below 1, or below their targets: a paragraph for each cause.
	limits []string
	// The picture does not show this group.
	tableOnly bool
}

// column is one of our layers.
type column struct{ layer, title string }

// work is a row: something that layers do, and that is measured.
type work struct {
	name string
	id
	peers []peer
	// A long work is measured only once in so many rounds.
	rarity int
}

// id identifies a work.
type id struct {
	how  how
	do   string
	n    int
	unit string // "ns" if it is empty
}

// peer is another layer that does the same work. targets says for each column how
// many times as fast as the peer we must be; 0 means no target.
type peer struct {
	layer   string
	targets []float64
}

func against(layer string, targets ...float64) peer { return peer{layer, targets} }

var (
	modes = []column{{clean, clean}, {always, always}}
	// For works that all modes do alike.
	modeless = []column{{clean, "libpythread"}}
)

// groups are all rows, in their order.
func groups() []group {
	return []group{
		{title: "Threads", columns: modes, works: []work{
			row("start and join, one at a time", id{how: warm, do: "one_at_a_time", n: 500},
				against("CPython", 1.3, 2), against("pthreads"), against(emptyLibrary)),
			row("start and join, 1 ms apart", id{how: warm, do: "now_and_then", n: 20},
				against("CPython", 0, 0.5), against("pthreads", 0, 0.5)),
			row("start 10, then join, each", id{how: warm, do: "batch", n: 10}, against("CPython"), against("pthreads")),
			row("start 1,000, then join, each", id{how: warm, do: "batch", n: 1000}, against("CPython", 20, 40),
				against("pthreads"), against(emptyLibrary), against("pool of pthreads", 0, 0.5),
				against("GThreadPool", 0, 0.5)),
			row("64 threads to a barrier", id{how: warm, do: "barrier", n: 64}, against("pthreads", 0, 2)),
			row("512 threads to a barrier", id{how: warm, do: "barrier", n: 512}, against("pthreads", 0, 2)),
			row("dirty threads, one at a time", id{how: warm, do: "dirty_batch", n: 1}, against("pthreads", 0.5)),
			row("dirty threads, start 100, then join, each", id{how: warm, do: "dirty_batch", n: 100},
				against("pthreads", 1)),
			row("files of the Go source tree", id{how: filesOfGo}, against("pthreads", 0, 3)).every(2),
		}, limits: []string{
			"A thread of the **empty Go library** is a goroutine that calls C. It has no ident, handle or storage, " +
				"and finds what earlier threads have left. To hide that, a thread makes four system calls in the mode " +
				"ALWAYS and ten in the mode CLEAN. Without the four, a thousand threads take 0.56 of the time.",
			"A task of a **pool** is a function call on an OS thread that exists already. Even threads of the empty " +
				"Go library take longer.",
			"A **dirty** thread leaves something on its OS thread, which then ends with it. Another OS thread of Go " +
				"makes a new one.",
			"Each of **64 threads to a barrier** needs an OS thread and a Go processor (GOMAXPROCS). A thread that " +
				"waits in C keeps its Go processor until Go's monitor takes it back.",
		}},
		{title: "First threads of a process", columns: modes, works: []work{
			row("first start and join", id{how: fresh, do: "first", n: 1},
				against("CPython"), against("pthreads"), against(emptyLibrary)),
			row("load, then first start and join", id{how: fresh, do: "load_and_first", n: 1},
				against(emptyLibrary)),
			row("64 threads to a barrier, first", id{how: fresh, do: "barrier", n: 64}, against("pthreads")),
			row("512 threads to a barrier, first", id{how: fresh, do: "barrier", n: 512}, against("pthreads")),
			row("python -c pass, preloaded", id{how: pythonStart},
				against("CPython", atMost(1.15), atMost(1.15))),
		}, limits: []string{
			"The first thread waits until the Go runtime has started. It takes longer than in the empty Go library " +
				"because of the reserve of OS threads, without which a start could end the process.",
			"**Python** without threads pays for the load of 2.8 MB. A page fault takes 20 µs on some virtual " +
				"machines.",
		}},
		{title: "Locks", columns: modeless, works: slices.Concat(
			each("lock pair, %s", "thread", contended, []int{1}, against("CPython", 1), against("pthreads"),
				against("two exchanges", 0.9), against("PyMutex"), against("nsync_mu")),
			each("lock pair, %s", "thread", contended, []int{2, 4, 8, 16, 32, 64}, against("CPython", 3),
				against("pthreads", 1), against("PyMutex", 1.5), against("nsync_mu", 1)),
			[]work{
				row("lock handed to and fro, 2 threads", handed, against("CPython", 1)),
				row("longest wait for a lock, 8 threads", id{how: warm, do: "longest_wait", n: 8},
					against("CPython", 1), against("pthreads"), against("PyMutex"), against("nsync_mu")).every(2),
			},
		), limits: []string{
			"Most of the time of a **lock pair** by several threads passes while the lock's cache line moves from one " +
				"processor to the other. On some machines all locks that spin and then sleep are within a tenth of each " +
				"other.",
			"The **longest wait** is that of a thread that sleeps. The lock is handed to a sleeper at most every 0.2 " +
				"ms, so that running threads need not sleep. nsync_mu lets no thread pass a waiter that it has woken " +
				"thirty times without success.",
		}},
		{title: "Storage and idents", columns: modeless, works: slices.Concat(
			each("tss_get, %s", "key", get, []int{1, 1000}, against("CPython", 1)),
			[]work{
				row("tss_set", id{how: warm, do: "tss_set", n: 200_000}, against("CPython", 1)),
				row("get_thread_ident", id{how: warm, do: "ident", n: 200_000}, against("CPython", 1)),
				row("get_thread_native_id", id{how: warm, do: "native_id", n: 200_000}, against("CPython", 10)),
			},
		)},
		{title: "Memory", columns: modes, works: []work{
			row("10,000 blocked threads", id{fresh, "blocked", 10_000, "bytes"}, against("pthreads", 0, 0.5)).every(5),
			row("100,000 finished threads", id{fresh, "finished", 100_000, "bytes"}).every(5),
			row("a lock", id{fresh, "lock_memory", 100_000, "bytes"}, against("sem_t", 1, 1)).every(5),
		}, limits: []string{
			"A **blocked thread** takes 20 KB. 8 KB are stack of the OS thread, as with pthreads. Go takes 4 KB for a " +
				"signal stack, 2 KB for the goroutine's stack and 6 KB for records. A goroutine that blocks in C takes 19 " +
				"KB in any Go program, which is 0.48.",
		}},
		{title: "What a process takes more than without the library", columns: modes, works: slices.Concat(
			stages("OS threads", "os_threads_after", "threads"),
			stages("address space", "address_space_after", "bytes"),
			stages("memory", "memory_after", "bytes"),
		), tableOnly: true},
		{title: "Go", columns: []column{{goPackage, "package pythread"}}, works: []work{
			row("start and join", id{how: goBenchmark, do: "StartJoin/%s"}, against("go and a channel", 1)),
			row("start and join, allocations", id{how: goBenchmark, do: "StartJoin/%s", unit: "allocations"},
				against("go and a channel")).every(5),
			row("lock pair", id{how: goBenchmark, do: "LockPair/%s"}, against("sync.Mutex", 0.7),
				against("channel", 2)),
			row("lock pair, 2 goroutines", id{how: goBenchmark, do: "LockContended/2/%s"},
				against("sync.Mutex", 1), against("channel", 2)),
			row("lock pair, 8 goroutines", id{how: goBenchmark, do: "LockContended/8/%s"},
				against("sync.Mutex", 1), against("channel", 2)),
			row("lock pair, 64 goroutines", id{how: goBenchmark, do: "LockContended/64/%s"},
				against("sync.Mutex", 1), against("channel", 2)),
			row("timed acquire that succeeds", id{how: goBenchmark, do: "Timed/free/%s"}, against(selectAfter, 2)),
			row("timed acquire that times out (1 µs)", id{how: goBenchmark, do: "Timed/late/1µs/%s"},
				against(selectAfter, 2)),
			row("lock handed between Go and C", handed, against(twoOfC, 0.5)),
		}},
	}
}

// Works that are both a row and a point of a curve.
var (
	contended = id{how: warm, do: "contended"}
	get       = id{how: warm, do: "tss_get"}
	handed    = id{how: warm, do: "hand_over", n: 2000}
)

func row(name string, what id, peers ...peer) work { return work{name, what, peers, 1} }

func (w work) every(rounds int) work {
	w.rarity = rounds
	return w
}

func (w id) of(n int) id {
	w.n = n
	return w
}

// atMost is the target for a work that may take so many times as long as the
// peer's.
func atMost(times float64) float64 { return 1 / times }

// each returns the work for each n, with n items in its name.
func each(pattern, item string, w id, numbers []int, peers ...peer) []work {
	var works []work
	for _, n := range numbers {
		works = append(works, row(fmt.Sprintf(pattern, count(n, item)), w.of(n), peers...))
	}
	return works
}

// stages returns the works that measure a process at three moments.
func stages(what, do, unit string) []work {
	stage := func(when string, n int) work {
		return row(what+" "+when, id{fresh, do, n, unit}, against(emptyLibrary)).every(5)
	}
	return []work{stage("after load", 0), stage("after 1 thread", 1), stage("after 1,000 threads", 1000)}
}

// growth is a work for growing numbers of one thing. The time for each should not
// grow with the number.
type growth struct {
	title, item string
	work        id
	numbers     []int
	layers      []string
}

var growths = []growth{
	{"start, then join, each", "thread", id{how: fresh, do: "batch"}, []int{10, 100, 1000, 10_000, 100_000},
		[]string{clean, always, "CPython", "pthreads"}},
	{"lock pair", "thread", contended, []int{1, 2, 4, 8, 16, 32, 64, 128, 256, 512},
		[]string{clean, "CPython", "pthreads", "PyMutex", "nsync_mu"}},
	{"release of a lock with waiters, each", "waiter", id{how: warm, do: "waiters"},
		[]int{1, 10, 100, 1000}, []string{clean, "CPython", "pthreads", "PyMutex", "nsync_mu"}},
	{"end of a thread with joiners, each", "joiner", id{how: warm, do: "joiners"},
		[]int{1, 10, 100, 1000}, []string{clean, always}},
	{"tss_get", "key", get, []int{1, 10, 100, 1000, 10_000, 100_000}, []string{clean, "CPython"}},
}

// layersFor returns the layers of the curve that can do n: CPython has 1,022 keys,
// and 100,000 pthreads are too many.
func (g growth) layersFor(n int) []string {
	if n <= 1000 {
		return g.layers
	}
	var able []string
	for _, layer := range g.layers {
		if ours := layer == clean || layer == always; ours || g.item == "thread" && n <= 10_000 {
			able = append(able, layer)
		}
	}
	return able
}

// task is a work with all layers that do it.
type task struct {
	work
	layers []string
}

// tasks returns all tasks.
func tasks() []task {
	var all []task
	place := map[id]int{}
	add := func(w work, layers ...string) {
		i, ok := place[w.id]
		if !ok {
			i, place[w.id] = len(all), len(all)
			all = append(all, task{work: w})
		}
		for _, layer := range layers {
			if t := &all[i]; !slices.Contains(t.layers, layer) {
				t.layers = append(t.layers, layer)
			}
		}
	}
	for _, g := range groups() {
		for _, w := range g.works {
			for _, c := range g.columns {
				add(w, c.layer)
			}
			for _, p := range w.peers {
				add(w, p.layer)
			}
		}
	}
	for _, g := range growths {
		for _, w := range each(g.title+", %s", g.item, g.work, g.numbers) {
			add(w.every(5), g.layersFor(w.n)...)
		}
	}
	return all
}

// count is "1 thread" or "1,000 threads".
func count(n int, item string) string {
	if n != 1 {
		item += "s"
	}
	return thousands(n) + " " + item
}

func thousands(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
