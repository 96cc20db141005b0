package main

import "slices"

// Our layers: libpythread in two of its modes, its PyMutex, and the Go package.
const (
	clean     = "CLEAN"
	always    = "ALWAYS"
	ourMutex  = "PyMutex of libpythread"
	goPackage = "pythread"
)

// group has the rows of the table under one heading.
type group struct {
	title   string
	columns []column
	works   []work
	// What keeps rows below 1, or below their targets: a paragraph for each cause.
	limits []string
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
	// The picture shows the ratio of the first column.
	pictured bool
}

func against(layer string, targets ...float64) peer { return peer{layer: layer, targets: targets} }

func pictured(layer string, targets ...float64) peer { return peer{layer, targets, true} }

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
				against("CPython", 6, 10), pictured("pthreads"), against(emptyLibrary, 2, 3)),
			row("the same, two programs at once", id{how: twoPrograms, do: "one_at_a_time", n: 500},
				against("pthreads", 1, 1)),
			row("the same, on one processor", id{how: oneProcessor, do: "one_at_a_time", n: 500},
				against("pthreads", 1, 1)),
			row("the same, its processor time", id{how: warm, do: "processor_time", n: 500},
				against("pthreads", 1, 1)),
			row("start and join, 50 µs apart", id{how: warm, do: "apart", n: 50}, against("pthreads", 1, 1)),
			row("start and join, 1 ms apart", id{how: warm, do: "apart", n: 1000}, pictured("pthreads", 1, 1)),
			row("start and join, 10 ms apart", id{how: warm, do: "apart", n: 10_000}, against("pthreads", 1, 1)),
			row("start 10, then join, each", id{how: warm, do: "batch", n: 10}, against("CPython", 18, 25)),
			row("start 1,000, then join, each", id{how: warm, do: "batch", n: 1000},
				against("CPython", 28, 60), pictured("pthreads")),
			row("the same, on one processor", id{how: oneProcessor, do: "batch", n: 1000}, against("pthreads", 1, 1)),
			row("64 threads to a barrier", id{how: warm, do: "barrier", n: 64}, pictured("pthreads", 1.5, 1.5)),
			row("dirty threads, one at a time", id{how: warm, do: "dirty", n: 500}, against("pthreads", 0.9, 0.9)),
			row("files of the Go source tree", id{how: filesOfGo}, against("pthreads", 0, 3)).every(5),
		}, limits: []string{
			"A thread of the **empty Go library** is a goroutine that calls C. It has no ident, handle or storage, " +
				"and finds what earlier threads have left. To hide that, [a thread makes system calls](system-calls.md), " +
				"six more in the mode CLEAN than in ALWAYS.",
			"**10 ms apart** all caches are cold, and a thread of this library runs more code than a pthread.",
			"A **dirty** thread leaves something on its OS thread, which then ends with it. Another OS thread of Go " +
				"makes a new one.",
			"Each of **64 threads to a barrier** needs an OS thread and a Go processor (GOMAXPROCS). A thread that " +
				"waits in C keeps its Go processor until Go's monitor takes it back.",
		}},
		{title: "First threads of a process", columns: modes, works: []work{
			row("load, then first start and join", id{how: fresh, do: "load_and_first", n: 1},
				against(emptyLibrary, 0.87, 0.87)),
			row("64 threads to a barrier, first", id{how: fresh, do: "first_barrier", n: 64}, against("pthreads", 0.7, 0.7)),
			row("python -c pass, preloaded", id{how: pythonStart},
				against("CPython", atMost(1.05), atMost(1.05))),
		}, limits: []string{
			"The first thread waits until the Go runtime has started. It takes longer than in the empty Go library " +
				"because of the reserve of OS threads, without which a start could end the process.",
		}},
		{title: "Locks", columns: modeless, works: slices.Concat(
			[]work{
				row("lock pair, 1 thread", contended.of(1), pictured("CPython", 1), against("two exchanges", 0.9)),
				row("lock pair, 8 threads", contended.of(8), pictured("CPython", 3), pictured("pthreads", 1),
					pictured("nsync_mu", 1)),
				row("lock pair, 64 threads", contended.of(64), against("CPython", 3), against("pthreads", 1),
					against("nsync_mu", 1)),
				row("lock handed to and fro, 2 threads", handed, against("CPython", 1)),
				row("longest wait for a lock, 8 threads", longest, against("PyMutex", 0.9),
					against("nsync_mu", 0.3)).every(2),
			},
		), limits: []string{
			"Most of the time of a **lock pair** by several threads passes while the lock's cache line moves from one " +
				"processor to the other. On some machines all locks that spin and then sleep are within a tenth of each " +
				"other.",
			"The **longest wait** is that of a thread that sleeps. The lock is handed to a sleeper at most every 0.2 " +
				"ms, so that running threads need not sleep. nsync_mu lets no thread pass a waiter that it has woken " +
				"thirty times without success.",
		}},
		{title: "PyMutex", columns: []column{{ourMutex, "libpythread"}}, works: []work{
			row("lock pair, 1 thread", contended.of(1), against("PyMutex", 1)),
			row("lock pair, 2 threads", contended.of(2), against("PyMutex", 1.5), against("pthreads", 0.9),
				against("nsync_mu", 0.9)),
			row("lock pair, 8 threads", contended.of(8), pictured("PyMutex", 1.5), against("pthreads", 0.9),
				against("nsync_mu", 0.9)),
			row("lock pair, 64 threads", contended.of(64), against("PyMutex", 1.5), against("pthreads", 0.9),
				against("nsync_mu", 0.9)),
			row("longest wait for a lock, 8 threads", longest, against("PyMutex", 1)).every(2),
		}, limits: []string{
			"The **longest wait** is that of a thread that could run and gets no processor. Few threads sleep, so they share " +
				"the processors in slices of 4 ms. CPython's waiters sleep, which costs each lock pair more time.",
		}},
		{title: "Storage and idents", columns: modeless, works: []work{
			row("tss_get, 1 key", id{how: warm, do: "tss_get", n: 1}, against("CPython", 1)),
			row("tss_get, 1,000 keys", id{how: warm, do: "tss_get", n: 1000}, against("CPython", 1)),
			row("tss_set", id{how: warm, do: "tss_set", n: 200_000}, against("CPython", 1)),
			row("get_thread_ident", id{how: warm, do: "ident", n: 200_000}, against("CPython", 1)),
			row("get_thread_native_id", id{how: warm, do: "native_id", n: 200_000}, against("CPython", 10)),
		}},
		{title: "Memory", columns: modes, works: []work{
			row("10,000 blocked threads", id{fresh, "blocked", 10_000, "bytes"},
				against("pthreads", 0.5, 0.5)).every(5),
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
		)},
		{title: "Go", columns: []column{{goPackage, "package pythread"}}, works: []work{
			row("start and join", id{how: goBenchmark, do: "StartJoin/%s"}, pictured("go and a channel", 1)),
			row("Lock, 1 goroutine", id{how: goBenchmark, do: "LockPair/%s"}, against("sync.Mutex", 0.7),
				against("channel", 2)),
			row("Lock, 8 goroutines", id{how: goBenchmark, do: "LockContended/8/%s"},
				pictured("sync.Mutex", 1), against("channel", 2)),
			row("Lock, 64 goroutines", id{how: goBenchmark, do: "LockContended/64/%s"}, against("sync.Mutex", 1)),
			row("Mutex, 1 goroutine", id{how: goBenchmark, do: "MutexPair/%s"}, against("sync.Mutex", 0.7)),
			row("Mutex, 2 goroutines", id{how: goBenchmark, do: "MutexContended/2/%s"}, against("sync.Mutex", 1)),
			row("Mutex, 8 goroutines", id{how: goBenchmark, do: "MutexContended/8/%s"}, against("sync.Mutex", 1)),
			row("Mutex, 64 goroutines", id{how: goBenchmark, do: "MutexContended/64/%s"}, against("sync.Mutex", 1)),
			row("timed acquire that succeeds", id{how: goBenchmark, do: "Timed/free/%s"},
				pictured(selectAfter, 2)),
			row("timed acquire that times out", id{how: goBenchmark, do: "Timed/late/1µs/%s"},
				against(selectAfter, 2)),
			row("lock handed between Go and C", handed, against(twoOfC, 0.5)),
			row("Mutex handed between Go and C", id{how: warm, do: "hand_over_mutex", n: 2000},
				against(twoOfC, 0.3)),
		}},
	}
}

// Works of several rows.
var (
	contended = id{how: warm, do: "contended"}
	longest   = id{how: warm, do: "longest_wait", n: 8}
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

// stages returns the works that measure a process at two moments.
func stages(what, do, unit string) []work {
	stage := func(when string, n int) work {
		return row(what+" "+when, id{fresh, do, n, unit}, against(emptyLibrary)).every(5)
	}
	return []work{stage("after load", 0), stage("after 1 thread", 1)}
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
	return all
}
