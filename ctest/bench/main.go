// Command bench measures libpythread against CPython's own thread layer,
// against plain pthreads and, for the Go package, against the standard library.
// It prints one table, and writes it to the directory of -out as bench.md,
// bench.json and, where there is gnuplot, bench.svg.
//
// All that is compared is measured in turns, many rounds of them, so that what
// else the machine does meets both alike. A ratio is that of one round: the time
// of the other divided by ours, so that above 1 we are faster. Printed is the
// median of the rounds, with the quartiles. No figure is right or wrong here:
// the command fails only when something cannot be run.
package main

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

var (
	out       = flag.String("out", ".", "write the results to this `directory`")
	rounds    = flag.Int("rounds", 25, "measure that many rounds")
	goCommand = flag.String("go", "go", "the go `command`")
	program   = flag.String("bench", "", "the `program` built from bench.c")
	cksum     = flag.String("cksum", "", "the `program` pythread-cksum")
	library   = flag.String("library", "", "the `file` libpythread.so")
	libpython = flag.String("libpython", "",
		"the libpython (3.13 or newer) to measure against; when empty, the newest `file` that is found")
)

// measured is one work as one layer does it.
type measured struct{ work, layer string }

// results has the values of all rounds: nanoseconds, bytes or allocations.
type results map[measured][]float64

func (r results) add(work, layer string, value float64) {
	r[measured{work, layer}] = append(r[measured{work, layer}], value)
}

const ours = "pythread"

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench: ")
	flag.Parse()
	os.Unsetenv("LD_PRELOAD")
	began := time.Now()
	if *libpython == "" {
		*libpython = findLibpython()
	}
	python := findPython()

	r := results{}
	r.measureLayers()
	r.measureProcesses()
	r.measureFiles()
	r.measurePython(python)
	r.measureGo()

	table := compare(r)
	about := describe(python)
	text := markdown(table, about)
	write("bench.md", []byte(text))
	document, err := json.MarshalIndent(map[string]any{"about": about, "rows": table}, "", "  ")
	check(err)
	write("bench.json", append(document, '\n'))
	draw(table, r)
	fmt.Print("\n", text, "\n")
	log.Printf("took %v; the results are in %s", time.Since(began).Round(time.Second), *out)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func write(name string, contents []byte) {
	check(os.WriteFile(filepath.Join(*out, name), contents, 0o666))
}

// run returns what the command prints to stdout and to stderr.
func run(command *exec.Cmd) (stdout, stderr string) {
	var o, e bytes.Buffer
	command.Stdout, command.Stderr = &o, &e
	if err := command.Run(); err != nil {
		log.Fatalf("%v: %v\n%s", command, err, e.String())
	}
	return o.String(), e.String()
}

func number(text string) float64 {
	value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	check(err)
	return value
}

// inTurns has every layer do the work in every round, in an order that changes.
func inTurns(rounds int, layers []string, work func(layer string)) {
	for round := range rounds {
		for i := range layers {
			work(layers[(i+round)%len(layers)])
		}
	}
}

// ---- what is measured ------------------------------------------------------

// measureLayers is the most of it: all layers in one process.
func (r results) measureLayers() {
	log.Printf("threads, locks and storage: %d rounds in one process", *rounds)
	output, _ := run(exec.Command(*program, *library, cmp.Or(*libpython, "-"), strconv.Itoa(*rounds)))
	for line := range strings.Lines(output) {
		fields := strings.Split(line, "\t")
		r.add(fields[0], fields[1], number(fields[2]))
	}
}

// processWorks are those for which every layer has processes of its own.
var processWorks = []struct {
	work, name, n string
	// A long one is done in fewer rounds.
	less int
}{
	{"first start and join in a process", "first", "1", 1},
	{"64 threads to a barrier, first in a process", "barrier", "64", 1},
	{"512 threads to a barrier, first in a process", "barrier", "512", 1},
	{"memory of 10,000 blocked threads", "blocked", "10000", 5},
	{"memory of 1,000,000 finished threads", "finished", "1000000", 5},
}

func (r results) measureProcesses() {
	libraries := map[string]string{ours: *library, "pthreads": "pthreads", "CPython": *libpython}
	for _, w := range processWorks {
		log.Print(w.work)
		layers := []string{ours, "pthreads"}
		if w.name == "finished" {
			layers = layers[:1]
		} else if w.less == 1 && *libpython != "" {
			layers = append(layers, "CPython")
		}
		inTurns((*rounds+w.less-1)/w.less, layers, func(layer string) {
			output, _ := run(exec.Command(*program, libraries[layer], w.name, w.n))
			r.add(w.work, layer, number(output))
		})
	}
}

// measureFiles is pythread-cksum over the Go source tree. The first run of each
// only warms the cache.
func (r results) measureFiles() {
	log.Print(files)
	goroot, _ := run(exec.Command(*goCommand, "env", "GOROOT"))
	tree := filepath.Join(strings.TrimSpace(goroot), "src")
	summary := regexp.MustCompile(`: (\d+ files, \d+ bytes, \d+ threads), ([0-9.]+) seconds\n$`)
	var did string
	warm := 0
	inTurns(*rounds+1, []string{ours, "pthreads"}, func(layer string) {
		command := exec.Command(*cksum, tree)
		if layer != ours {
			command.Args = append(command.Args, "--pthreads")
		}
		_, stderr := run(command)
		match := summary.FindStringSubmatch(stderr)
		if match == nil || did != "" && did != match[1] {
			log.Fatalf("%v did not what the run before did, %q: %s", command, did, stderr)
		}
		if did = match[1]; warm < 2 {
			warm++
			return
		}
		r.add(files, layer, number(match[2])*1e9)
	})
	log.Print(did)
}

// measurePython is the whole process, from its start to its end.
func (r results) measurePython(python string) {
	if python == "" {
		log.Print("no Python whose thread layer the library can take: no start-up of one is measured")
		return
	}
	log.Print(startUp)
	inTurns(2**rounds, []string{ours, "CPython"}, func(layer string) {
		command := exec.Command(python, "-c", "pass")
		if layer == ours {
			command.Env = append(os.Environ(), "LD_PRELOAD="+*library)
		}
		began := time.Now()
		run(command)
		r.add(startUp, layer, float64(time.Since(began)))
	})
}

// measureGo is the benchmarks of the Go package, each round in a new process.
func (r results) measureGo() {
	log.Print("the Go package")
	tests := filepath.Join(*out, "pythread.test")
	run(exec.Command(*goCommand, "test", "-c", "-o", tests, "./pythread"))
	line := regexp.MustCompile(`(?m)^Benchmark(\w+)/(?:(\d+)/)?(\w+?)(?:-\d+)?\s+\d+\s+([0-9.]+) ns/op(?:.*\s(\d+) allocs/op)?`)
	works := map[string]string{
		"StartJoin": "Go: start and join", "LockPair": "Go: lock pair", "LockContended": "Go: lock pair",
	}
	layers := map[string]string{"bare": "go and a channel", "mutex": "sync.Mutex"}
	for range (*rounds + 1) / 2 {
		output, _ := run(exec.Command(tests, "-test.run=^$", "-test.benchtime=50ms",
			"-test.bench=^Benchmark(StartJoin|LockPair|LockContended)$/^(pythread|bare|mutex|channel|2|8|64)$"))
		matches := line.FindAllStringSubmatch(output, -1)
		if matches == nil {
			log.Fatalf("%s has no benchmarks", tests)
		}
		for _, match := range matches {
			work, layer := works[match[1]], cmp.Or(layers[match[3]], match[3])
			if match[2] != "" {
				work += ", " + match[2] + " goroutines"
			}
			r.add(work, layer, number(match[4]))
			if match[5] != "" {
				r.add(work+", allocations (3 at most)", layer, number(match[5]))
			}
		}
	}
}

// ---- the other layers ------------------------------------------------------

// places returns what matches the pattern under the roots of installed and of
// pyenv's Pythons, those of the newest version first.
func places(patterns ...string) []string {
	home, _ := os.UserHomeDir()
	pyenv := cmp.Or(os.Getenv("PYENV_ROOT"), filepath.Join(home, ".pyenv"))
	var found []string
	for _, root := range []string{pyenv + "/versions/*", "/usr/local", "/usr"} {
		for _, pattern := range patterns {
			matches, err := filepath.Glob(filepath.Join(root, pattern))
			check(err)
			found = append(found, matches...)
		}
	}
	slices.SortStableFunc(found, func(a, b string) int { return minor(b) - minor(a) })
	return slices.DeleteFunc(found, func(file string) bool { return minor(file) < 11 })
}

// minor is 13 for libpython3.13.so.1.0 and python3.13, and -1 for other builds
// of it, such as those for debugging.
func minor(file string) int {
	match := regexp.MustCompile(`python3\.(\d+)(\.so.*)?$`).FindStringSubmatch(filepath.Base(file))
	if match == nil {
		return -1
	}
	return int(number(match[1]))
}

// findLibpython returns the newest one whose threads can be joined.
func findLibpython() string {
	for _, file := range places("lib/libpython3.*.so", "lib/*/libpython3.*.so", "lib64/libpython3.*.so") {
		if exec.Command(*program, file, "first", "1").Run() == nil {
			return file
		}
	}
	log.Print("no libpython of CPython 3.13 or newer: its column stays empty")
	return ""
}

// findPython returns an interpreter that runs on the library when it is
// preloaded: the one of the libpython, or else the newest that does.
func findPython() string {
	root := filepath.Dir(filepath.Dir(*libpython))
	name := fmt.Sprintf("bin/python3.%d", minor(*libpython))
	candidates := []string{filepath.Join(root, name), filepath.Join(filepath.Dir(root), name)}
	for _, python := range append(candidates, places("bin/python3.*")...) {
		command := exec.Command(python, "-c", "import sys; print(sys.thread_info.version)")
		command.Env = append(os.Environ(), "LD_PRELOAD="+*library)
		if output, err := command.Output(); err == nil && strings.HasPrefix(string(output), "libpythread ") {
			return python
		}
	}
	return ""
}

// describe says in one line what it was measured on.
func describe(python string) string {
	first := func(file, pattern string) string {
		contents, _ := os.ReadFile(file)
		match := regexp.MustCompile(pattern).FindSubmatch(contents)
		if match == nil {
			return runtime.GOARCH
		}
		return string(match[1])
	}
	goVersion, _ := run(exec.Command(*goCommand, "env", "GOVERSION"))
	about := fmt.Sprintf("%d processors (%s), Linux %s, %s", runtime.NumCPU(),
		first("/proc/cpuinfo", `(?m)^model name\s*: (.*)$`),
		first("/proc/sys/kernel/osrelease", `^([0-9.]*[0-9])`),
		strings.Replace(strings.TrimSpace(goVersion), "go", "Go ", 1))
	if *libpython != "" {
		about += fmt.Sprintf(", libpython3.%d", minor(*libpython))
	}
	if python != "" {
		version, _ := run(exec.Command(python, "--version"))
		about += ", " + strings.TrimSpace(version)
	}
	return fmt.Sprintf("%s; %d rounds", about, *rounds)
}

// ---- the table -------------------------------------------------------------

const (
	files   = "files of the Go source tree through pythread-cksum"
	startUp = "python -c pass, preloaded"
)

// spread is the median and the quartiles of all rounds.
type spread struct {
	Median float64 `json:"median"`
	Lower  float64 `json:"lower"`
	Upper  float64 `json:"upper"`
}

func spreadOf(values []float64) *spread {
	if len(values) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(values))
	at := func(part float64) float64 {
		index, fraction := math.Modf(part * float64(len(sorted)-1))
		low, high := sorted[int(index)], sorted[min(int(index)+1, len(sorted)-1)]
		return low + (high-low)*fraction
	}
	return &spread{at(0.5), at(0.25), at(0.75)}
}

// row is a line of the table. Against is empty where no other can do the work,
// and Ratio and Other are nil when it was not there to be measured.
type row struct {
	Work    string `json:"work"`
	Against string `json:"against,omitempty"`
	// The ratio to reach: 0 where none is set.
	Target float64 `json:"target,omitempty"`
	// "ns", "bytes" or "allocations".
	Unit   string  `json:"unit"`
	Rounds int     `json:"rounds"`
	Ratio  *spread `json:"ratio,omitempty"`
	Ours   *spread `json:"ours,omitempty"`
	Other  *spread `json:"other,omitempty"`
}

// atMost is the target for what may take at most so many times the other's.
func atMost(times float64) float64 { return 1 / times }

// rows are the lines of the table, in their order.
func rows() []row {
	return []row{
		{Work: "start and join, one at a time", Against: "CPython", Target: 1.5},
		{Work: "start and join, one at a time", Against: "pthreads"},
		{Work: "start and join, 1 ms apart", Against: "CPython"},
		{Work: "start and join, 1 ms apart", Against: "pthreads"},
		{Work: "first start and join in a process", Against: "CPython"},
		{Work: "first start and join in a process", Against: "pthreads"},
		{Work: "start 10, then join, each", Against: "CPython"},
		{Work: "start 10, then join, each", Against: "pthreads"},
		{Work: "start 1,000, then join, each", Against: "CPython", Target: 40},
		{Work: "start 1,000, then join, each", Against: "pthreads"},
		{Work: "start 100,000, then join, each"},
		{Work: files, Against: "pthreads", Target: 1.5},
		{Work: "64 threads to a barrier", Against: "pthreads", Target: 1},
		{Work: "512 threads to a barrier", Against: "pthreads", Target: 1},
		{Work: "64 threads to a barrier, first in a process", Against: "pthreads"},
		{Work: "512 threads to a barrier, first in a process", Against: "pthreads"},
		{Work: "lock pair, 1 thread", Against: "CPython", Target: 1},
		{Work: "lock pair, 1 thread", Against: "pthreads"},
		{Work: "lock pair, 1 thread", Against: "two exchanges"},
		{Work: "lock pair, 2 threads", Against: "CPython", Target: 3},
		{Work: "lock pair, 4 threads", Against: "CPython", Target: 3},
		{Work: "lock pair, 8 threads", Against: "CPython", Target: 3},
		{Work: "lock pair, 16 threads", Against: "CPython"},
		{Work: "lock pair, 32 threads", Against: "CPython", Target: 3},
		{Work: "lock pair, 64 threads", Against: "CPython"},
		{Work: "lock pair, 2 threads", Against: "pthreads", Target: 0.8},
		{Work: "lock pair, 4 threads", Against: "pthreads", Target: 0.8},
		{Work: "lock pair, 8 threads", Against: "pthreads", Target: 0.8},
		{Work: "lock pair, 16 threads", Against: "pthreads"},
		{Work: "lock pair, 32 threads", Against: "pthreads", Target: 0.8},
		{Work: "lock pair, 64 threads", Against: "pthreads"},
		{Work: "lock handed to and fro, 2 threads", Against: "CPython", Target: 1},
		{Work: "longest wait for a lock, 8 threads", Against: "CPython", Target: 1},
		{Work: "longest wait for a lock, 8 threads", Against: "pthreads"},
		{Work: "tss_get, 1 key", Against: "CPython", Target: 1},
		{Work: "tss_get, 1,000 keys", Against: "CPython", Target: 1},
		{Work: "tss_get, 100,000 keys"},
		{Work: "tss_set", Against: "CPython", Target: 1},
		{Work: "get_thread_ident", Against: "CPython", Target: 1},
		{Work: "get_thread_native_id", Against: "CPython", Target: 10},
		{Work: "memory of 10,000 blocked threads", Against: "pthreads", Target: atMost(1.1), Unit: "bytes"},
		{Work: "memory of 1,000,000 finished threads", Unit: "bytes"},
		{Work: startUp, Against: "CPython", Target: atMost(1.1)},
		{Work: "Go: start and join", Against: "go and a channel", Target: atMost(1.1)},
		{Work: "Go: start and join, allocations (3 at most)", Against: "go and a channel", Unit: "allocations"},
		{Work: "Go: lock pair", Against: "channel", Target: 2},
		{Work: "Go: lock pair", Against: "sync.Mutex", Target: 0.7},
		{Work: "Go: lock pair, 2 goroutines", Against: "channel", Target: 2},
		{Work: "Go: lock pair, 8 goroutines", Against: "channel", Target: 2},
		{Work: "Go: lock pair, 64 goroutines", Against: "channel", Target: 2},
		{Work: "Go: lock pair, 2 goroutines", Against: "sync.Mutex", Target: 0.7},
		{Work: "Go: lock pair, 8 goroutines", Against: "sync.Mutex", Target: 0.7},
		{Work: "Go: lock pair, 64 goroutines", Against: "sync.Mutex", Target: 0.7},
	}
}

// compare fills the rows in.
func compare(r results) []row {
	table := rows()
	for i := range table {
		row := &table[i]
		mine, others := r[measured{row.Work, ours}], r[measured{row.Work, row.Against}]
		var ratios []float64
		for round := range others {
			ratios = append(ratios, others[round]/mine[round])
		}
		row.Unit = cmp.Or(row.Unit, "ns")
		row.Rounds = len(mine)
		row.Ratio, row.Ours, row.Other = spreadOf(ratios), spreadOf(mine), spreadOf(others)
	}
	return table
}

// digits prints three digits that count.
func digits(value float64) string {
	if value == math.Trunc(value) {
		return strconv.FormatFloat(value, 'f', 0, 64)
	}
	places := 2 - int(math.Floor(math.Log10(math.Abs(value))))
	return strconv.FormatFloat(value, 'f', max(places, 0), 64)
}

var scales = map[string][]string{
	"ns":          {"ns", "µs", "ms", "s"},
	"bytes":       {"bytes", "kB", "MB", "GB"},
	"allocations": {""},
}

func quantity(s *spread, unit string) string {
	if s == nil {
		return "–"
	}
	value, scale := s.Median, scales[unit]
	for len(scale) > 1 && math.Abs(value) >= 1000 {
		value, scale = value/1000, scale[1:]
	}
	return strings.TrimSpace(digits(value) + " " + scale[0])
}

// markdown returns the table, its columns aligned for those who read it as it is.
func markdown(table []row, about string) string {
	lines := [][]string{
		{"work", "against", "ratio (quartiles)", "target", "ours", "theirs"},
		{"---", "---", "---", "---", "---", "---"},
	}
	for _, row := range table {
		ratio, target := "–", "–"
		if row.Ratio != nil {
			ratio = fmt.Sprintf("**%s** (%s to %s)", digits(row.Ratio.Median), digits(row.Ratio.Lower),
				digits(row.Ratio.Upper))
		}
		if row.Target != 0 {
			target = "≥ " + strconv.FormatFloat(row.Target, 'g', 2, 64)
		}
		lines = append(lines, []string{row.Work, cmp.Or(row.Against, "–"), ratio, target,
			quantity(row.Ours, row.Unit), quantity(row.Other, row.Unit)})
	}
	var text strings.Builder
	for _, line := range lines {
		for column, cell := range line {
			width := 0
			for _, other := range lines {
				width = max(width, utf8.RuneCountInString(other[column]))
			}
			pad, fill := width-utf8.RuneCountInString(cell), " "
			if cell == "---" {
				fill = "-"
			}
			text.WriteString("| " + cell + strings.Repeat(fill, pad) + " ")
		}
		text.WriteString("|\n")
	}
	return text.String() + "\n" + about + ".\n"
}

// ---- the picture -----------------------------------------------------------

//go:embed bench.gp
var script string

// flat are the works of which the picture shows that their cost does not grow.
var flat = []struct {
	name, work string
	numbers    []string
}{
	{"threads", "start %s, then join, each", []string{"10", "1,000", "100,000"}},
	{"locks", "lock pair, %s threads", []string{"1", "2", "4", "8", "16", "32", "64"}},
	{"keys", "tss_get, %s keys", []string{"1", "1,000", "100,000"}},
}

func draw(table []row, r results) {
	var data strings.Builder
	data.WriteString("$bars << END\n")
	bars := slices.DeleteFunc(slices.Clone(table), func(row row) bool { return row.Ratio == nil })
	for i, row := range bars {
		target := "NaN"
		if row.Target != 0 {
			target = fmt.Sprint(row.Target)
		}
		fmt.Fprintf(&data, "%d\t%s, against %s\t%s\t%g\t%g\t%g\t%s\t%s\n", i, row.Work, row.Against,
			row.Against, row.Ratio.Median, row.Ratio.Lower, row.Ratio.Upper, target, digits(row.Ratio.Median))
	}
	data.WriteString("END\n")
	for _, f := range flat {
		for _, layer := range []string{ours, "CPython", "pthreads"} {
			fmt.Fprintf(&data, "$%s_%s << END\n", f.name, layer)
			for _, n := range f.numbers {
				work := fmt.Sprintf(f.work, n)
				if n == "1" {
					work = strings.TrimSuffix(work, "s")
				}
				if s := spreadOf(r[measured{work, layer}]); s != nil {
					fmt.Fprintf(&data, "%s\t%g\n", strings.ReplaceAll(n, ",", ""), s.Median)
				}
			}
			// gnuplot wants a point of those, too, that have none.
			data.WriteString("1\tNaN\nEND\n")
		}
	}
	write("bench.gp", []byte(data.String()+script))
	command := exec.Command("gnuplot", "bench.gp")
	command.Dir = *out
	if command.Err != nil {
		log.Print("no gnuplot: no picture is drawn")
		return
	}
	run(command)
}
