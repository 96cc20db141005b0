package main

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Layers that are not layers of bench.c.
const (
	emptyLibrary = "empty Go library"
	twoOfC       = "two C threads"
	selectAfter  = "select, time.After"
)

// how says how a work is measured.
type how int

const (
	warm how = iota
	oneProcessor
	twoPrograms
	fresh
	filesOfGo
	pythonStart
	goBenchmark
)

func (w id) measure(layer string) float64 {
	switch w.how {
	case warm:
		return inWarmProcess(layer).do(w)
	case oneProcessor:
		return inWarmProcess(layer, "taskset", "--cpu-list", "0").do(w)
	case twoPrograms:
		return inTwoProcesses(layer, w)
	case fresh:
		return inFreshProcess(layer, w)
	case filesOfGo:
		return sumFiles(layer)
	case pythonStart:
		return startPython(layer)
	default:
		return runGoBenchmark(layer, w)
	}
}

// ---- processes -------------------------------------------------------------

// command returns the command that does the layer's works, as bench.c does.
func command(layer string) *exec.Cmd {
	pythread := func(file, reuse string) *exec.Cmd {
		c := exec.Command(*program, "PyThread", file)
		c.Env = append(os.Environ(), "PYTHREAD_REUSE="+reuse)
		return c
	}
	switch layer {
	case clean:
		return pythread(*library, "clean")
	case always:
		return pythread(*library, "always")
	case "CPython":
		return pythread(*libpython, "")
	case "PyMutex":
		return exec.Command(*program, layer, *libpython)
	case ourMutex:
		return exec.Command(*program, "PyMutex", *library)
	case emptyLibrary:
		return exec.Command(*program, layer, *empty)
	case goPackage:
		return exec.Command(*handedOver, "Go")
	case twoOfC:
		return exec.Command(*handedOver, "C")
	}
	return exec.Command(*program, layer)
}

// process is a running command, which does one work after another.
type process struct {
	*exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	errors bytes.Buffer
}

func start(c *exec.Cmd) *process {
	p := &process{Cmd: c}
	in, err := c.StdinPipe()
	check(err)
	out, err := c.StdoutPipe()
	check(err)
	p.in, p.out, c.Stderr = in, bufio.NewReader(out), &p.errors
	check(c.Start())
	return p
}

func (p *process) do(w id) float64 {
	p.begin(w)
	return p.result(w)
}

func (p *process) begin(w id) { fmt.Fprintln(p.in, w.do, w.n) }

func (p *process) result(w id) float64 {
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.Wait()
		log.Fatalf("%v did not do %s %d: %s", p, w.do, w.n, p.errors.String())
	}
	return number(line)
}

func (p *process) end() error {
	p.in.Close()
	return p.Wait()
}

var processes = map[string]*process{}

// inWarmProcess returns the process that does many works of the layer, under a
// command that starts it if there is one.
func inWarmProcess(layer string, under ...string) *process {
	key := strings.Join(append(under, layer), " ")
	if processes[key] == nil {
		processes[key] = startUnder(layer, under)
	}
	return processes[key]
}

func startUnder(layer string, under []string) *process {
	c := command(layer)
	if len(under) > 0 {
		environment := c.Env
		c = exec.Command(under[0], append(under[1:], c.Args...)...)
		c.Env = environment
	}
	return start(c)
}

// inTwoProcesses does a work in two processes at once. It returns the mean.
func inTwoProcesses(layer string, w id) float64 {
	one, other := inWarmProcess(layer), inWarmProcess(layer, "env")
	one.begin(w)
	other.begin(w)
	return (one.result(w) + other.result(w)) / 2
}

// inFreshProcess does a work in a process of its own.
func inFreshProcess(layer string, w id) float64 {
	p := start(command(layer))
	value := p.do(w)
	check(p.end())
	return value
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

// preload makes the command run on one of our layers.
func preload(c *exec.Cmd, layer string) *exec.Cmd {
	if layer == clean || layer == always {
		c.Env = append(os.Environ(), "LD_PRELOAD="+*library, "PYTHREAD_REUSE="+strings.ToLower(layer))
	}
	return c
}

// ---- works of whole programs -----------------------------------------------

// goSources is the directory of Go's sources. goSourcesDone is what the first run
// found there.
var goSources, goSourcesDone string

// sumFiles measures pythread-cksum on the Go source tree.
func sumFiles(layer string) float64 {
	c := preload(exec.Command(*cksum, goSources), layer)
	if layer == "pthreads" {
		c.Args = append(c.Args, "--pthreads")
	}
	_, stderr := run(c)
	match := regexp.MustCompile(`: (\d+ files, \d+ bytes, \d+ threads), ([0-9.]+) seconds\n$`).FindStringSubmatch(stderr)
	if match == nil || goSourcesDone != "" && goSourcesDone != match[1] {
		log.Fatalf("%v did not do the same as the run before, %q: %s", c, goSourcesDone, stderr)
	}
	goSourcesDone = match[1]
	return number(match[2]) * 1e9
}

// python is an interpreter that runs on the library if it is preloaded.
var python string

// startPython measures a whole process of Python, from start to end.
func startPython(layer string) float64 {
	c := preload(exec.Command(python, "-c", "pass"), layer)
	began := time.Now()
	run(c)
	return float64(time.Since(began))
}

// goTests is the test program of the Go package, with its benchmarks.
var goTests string

// runGoBenchmark runs one of these benchmarks.
func runGoBenchmark(layer string, w id) float64 {
	name, known := map[string]string{
		"go and a channel": "bare", "sync.Mutex": "mutex", selectAfter: "select",
	}[layer]
	if !known {
		name = layer
	}
	parts := strings.Split("Benchmark"+fmt.Sprintf(w.do, name), "/")
	output, _ := run(exec.Command(goTests, "-test.run=^$", "-test.benchtime=20ms",
		"-test.bench=^"+strings.Join(parts, "$/^")+"$"))
	line := regexp.MustCompile(`(?m)^Benchmark\S+\s+\d+\s+([0-9.]+) ns/op`)
	match := line.FindStringSubmatch(output)
	if match == nil {
		log.Fatalf("%s has no %v", goTests, parts)
	}
	return number(match[1])
}

// ---- what is installed -----------------------------------------------------

// prepare finds and builds the other layers.
func prepare() {
	goroot, _ := run(exec.Command(*goCommand, "env", "GOROOT"))
	goSources = filepath.Join(strings.TrimSpace(goroot), "src")
	goTests = filepath.Join(*out, "pythread.test")
	run(exec.Command(*goCommand, "test", "-c", "-o", goTests, "./pythread"))
	if *libpython == "" {
		*libpython = findLibpython()
	}
	if python = findPython(); python == "" {
		log.Print("found no Python that runs on the library: the start of Python is not measured")
	}
}

// present removes the layers that are not installed.
func present(all []task) []task {
	for i, t := range all {
		all[i].layers = slices.DeleteFunc(t.layers, func(layer string) bool { return !t.isThere(layer) })
	}
	return all
}

func (t task) isThere(layer string) bool {
	switch {
	case t.how <= fresh:
		return hasProcess(layer)
	case t.how == pythonStart:
		return python != ""
	}
	return true
}

var probed = map[string]bool{}

// hasProcess reports whether the layer can do works. It prints once if not.
func hasProcess(layer string) bool {
	if _, ok := probed[layer]; !ok {
		p := start(command(layer))
		probed[layer] = p.end() == nil
		if !probed[layer] {
			log.Printf("%s is not measured: %s", layer, strings.TrimSpace(p.errors.String()))
		}
	}
	return probed[layer]
}

// places returns the files that match the patterns below the roots of installed
// Pythons, also those of pyenv, with the newest version first.
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

// minor returns 13 for libpython3.13.so.1.0 and python3.13, and -1 for other
// builds, such as debug builds.
func minor(file string) int {
	match := regexp.MustCompile(`python3\.(\d+)(\.so.*)?$`).FindStringSubmatch(filepath.Base(file))
	if match == nil {
		return -1
	}
	return int(number(match[1]))
}

// findLibpython returns the newest libpython whose threads can be joined.
func findLibpython() string {
	for _, file := range places("lib/libpython3.*.so", "lib/*/libpython3.*.so", "lib64/libpython3.*.so") {
		if exec.Command(*program, "PyThread", file).Run() == nil {
			return file
		}
	}
	return "a libpython of CPython 3.13 or newer"
}

// findPython returns an interpreter that runs on the library if it is preloaded:
// the interpreter of the libpython, or else the newest one.
func findPython() string {
	root := filepath.Dir(filepath.Dir(*libpython))
	name := fmt.Sprintf("bin/python3.%d", minor(*libpython))
	candidates := []string{filepath.Join(root, name), filepath.Join(filepath.Dir(root), name)}
	for _, python := range append(candidates, places("bin/python3.*")...) {
		command := preload(exec.Command(python, "-c", "import sys; print(sys.thread_info.version)"), clean)
		if output, err := command.Output(); err == nil && strings.HasPrefix(string(output), "libpythread ") {
			return python
		}
	}
	return ""
}
