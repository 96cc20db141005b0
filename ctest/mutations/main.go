// Command mutations shows that the tests find mistakes. It builds the library with
// each mistake of a list, and then a case that the list names must fail.
//
//	go run ./ctest/mutations [-only REGEXP] BUILD
//
// BUILD is the directory of a build with the tests. An entry of the list,
// mistakes.txt, is a line
//
//	FILE: CASE [CASE...]
//
// then lines that begin with "- ", a text that FILE has exactly once. The lines
// that follow begin with "+ ", and are the text that replaces it. FILE is a name
// without a directory, so that files may move. CASE is CONCEPT.NAME for a case in
// C, and PACKAGE.TestName for a Go test.
package main

import (
	"cmp"
	"context"
	_ "embed"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

//go:embed mistakes.txt
var list string

// A case may find a mistake only in some interleavings, so it gets several tries. A
// case that hangs has found the mistake.
const (
	tries   = 10
	timeout = 40 * time.Second
)

// sources are the files and directories that the library is built from.
var sources = []string{"go.mod", "capi", "pythread", "include", "internal"}

type mistake struct {
	line     int
	file     string
	cases    []string
	old, new []string
}

func parse(list string) (mistakes []*mistake, err error) {
	for i, line := range strings.Split(list, "\n") {
		var last *mistake
		if len(mistakes) > 0 {
			last = mistakes[len(mistakes)-1]
		}
		switch {
		case line == "" || line[0] == '#':
		case last != nil && strings.HasPrefix(line, "- "):
			last.old = append(last.old, line[2:])
		case last != nil && (line == "+" || strings.HasPrefix(line, "+ ")):
			last.new = append(last.new, strings.TrimPrefix(line[1:], " "))
		default:
			file, cases, ok := strings.Cut(line, ": ")
			if !ok {
				return nil, fmt.Errorf("line %d is neither FILE: CASE nor a text", i+1)
			}
			mistakes = append(mistakes, &mistake{line: i + 1, file: file, cases: strings.Fields(cases)})
		}
	}
	return mistakes, nil
}

// bench is a copy of the sources, where the library is built.
type bench struct {
	dir, build string
	// flags are for the C compiler. A new one makes the go command compile all C
	// files again. It does not see changes of headers in other folders.
	flags string
}

// companion is the source of what pythread-run preloads beside the library.
const companion = "preload.c"

func newBench(build string) (b *bench, err error) {
	b = &bench{build: build}
	if b.dir, err = os.MkdirTemp("", "mutations"); err != nil {
		return nil, err
	}
	for _, source := range sources {
		err := filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			to := filepath.Join(b.dir, path)
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				return err
			}
			return os.WriteFile(to, text, 0o644)
		})
		if err != nil {
			return nil, err
		}
	}
	return b, nil
}

// find returns the one file that has the text, and the contents of the file.
func (b *bench) find(m *mistake) (path string, text string, err error) {
	places := 0
	err = filepath.WalkDir(b.dir, func(p string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != m.file {
			return err
		}
		found, err := os.ReadFile(p)
		if n := strings.Count(string(found), strings.Join(m.old, "\n")); n > 0 {
			places += n
			path, text = p, string(found)
		}
		return err
	})
	if err == nil && places != 1 {
		err = fmt.Errorf("the text stands in %d places", places)
	}
	return path, text, err
}

// makeCompanion builds what pythread-run preloads, beside a copy of it.
func (b *bench) makeCompanion() error {
	script, err := os.ReadFile(filepath.Join(b.build, "pythread-run"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.dir, "pythread-run"), script, 0o755); err != nil {
		return err
	}
	var source string
	filepath.WalkDir(b.dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == companion {
			source = path
		}
		return err
	})
	build := exec.Command(cmp.Or(os.Getenv("CC"), "cc"), "-std=gnu11", "-O2", "-fPIC", "-shared", "-Iinclude",
		source, "-o", "libpythread-preload.so", "-Wl,-z,initfirst", "-pthread", "-ldl")
	build.Dir = b.dir
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %v\n%s", companion, err, output)
	}
	return nil
}

func goCommand() string { return cmp.Or(os.Getenv("GO"), "go") }

// make builds the library and its companion.
func (b *bench) make() error {
	if err := b.makeCompanion(); err != nil {
		return err
	}
	script := filepath.Join(b.build, "pythread.map")
	build := exec.Command(goCommand(), "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false",
		"-ldflags", "-extldflags '-Wl,-soname,libpythread.so.0 -Wl,--version-script="+script+"'",
		"-o", "libpythread.so.0", "./capi/libpythread")
	build.Dir = b.dir
	build.Env = append(os.Environ(), b.flags)
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %v\n%s", err, output)
	}
	return nil
}

// isGo reports whether a case is a Go test.
func isGo(test string) bool { return strings.HasPrefix(test, "Test") }

func isFile(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// command returns the command that runs a case.
func (b *bench) command(name string) []string {
	concept, test, _ := strings.Cut(name, ".")
	program := filepath.Join(b.build, "ctest", concept+"_test")
	// The script of the sources, because the copy has no build directory for it.
	script, _ := filepath.Abs(filepath.Join("ctest", concept+"_test.sh"))
	switch {
	case isGo(test):
		// A test that hangs has to end itself, because the end of the go command does not end it.
		return []string{goCommand(), "test", "-count=1", "-timeout=30s", "-run=^" + test + "$", "./" + concept}
	case isFile(script):
		return []string{"sh", script, test}
	case strings.HasPrefix(concept, "preload"):
		return []string{filepath.Join(b.dir, "pythread-run"), program, test}
	}
	return []string{program, test}
}

// run runs a case once and returns its error and its output.
func (b *bench) run(name string) (failed bool, output string, err error) {
	command := b.command(name)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	run := exec.CommandContext(ctx, command[0], command[1:]...)
	run.Dir = b.dir
	run.WaitDelay = time.Second
	// By LD_LIBRARY_PATH the programs find this library before their own.
	run.Env = append(os.Environ(), b.flags, "PYTHREAD_BINARY_DIR="+b.build, "LD_LIBRARY_PATH="+b.dir,
		"PYTHREAD_LIBRARY="+filepath.Join(b.dir, "libpythread.so.0"))
	text, err := run.CombinedOutput()
	switch {
	case run.ProcessState == nil:
		return false, "", err
	case ctx.Err() != nil:
		return true, "it hangs", nil
	case run.ProcessState.ExitCode() == 77:
		return false, "", fmt.Errorf("skipped: %s", text)
	}
	return err != nil, fmt.Sprintf("%s%v", text, err), nil
}

// missed returns why no case has found the mistake, or nil if one has.
func (b *bench) missed(m *mistake) error {
	path, text, err := b.find(m)
	if err != nil {
		return err
	}
	changed := strings.Replace(text, strings.Join(m.old, "\n"), strings.Join(m.new, "\n"), 1)
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		return err
	}
	defer os.WriteFile(path, []byte(text), 0o644)
	b.flags = "CGO_CFLAGS=-O2 -g"
	if strings.HasSuffix(m.file, ".h") {
		b.flags += fmt.Sprintf(" -DMISTAKE=%d", m.line)
	}
	if err := b.make(); err != nil {
		return err
	}
	for _, name := range m.cases {
		failed := false
		for i := 0; i < tries && !failed; i++ {
			if failed, _, err = b.run(name); err != nil {
				return err
			}
		}
		if !failed {
			return fmt.Errorf("%s passes all the same", name)
		}
	}
	return nil
}

// pass returns an error if a case fails without a mistake.
func (b *bench) pass(mistakes []*mistake) error {
	b.flags = "CGO_CFLAGS=-O2 -g"
	if err := b.make(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, m := range mistakes {
		for _, name := range m.cases {
			if seen[name] {
				continue
			}
			seen[name] = true
			if failed, output, err := b.run(name); err != nil || failed {
				return fmt.Errorf("%s fails without a mistake: %v %s", name, err, output)
			}
		}
	}
	return nil
}

func test(build string, only *regexp.Regexp) error {
	all, err := parse(list)
	if err != nil {
		return err
	}
	var mistakes []*mistake
	for _, m := range all {
		if only.MatchString(m.file + ": " + strings.Join(m.cases, " ")) {
			mistakes = append(mistakes, m)
		}
	}
	b, err := newBench(build)
	if err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := b.pass(mistakes); err != nil {
		return err
	}
	missed := 0
	for _, m := range mistakes {
		result := "found"
		if err := b.missed(m); err != nil {
			missed++
			result = "NOT FOUND: " + err.Error()
		}
		fmt.Printf("mistakes.txt:%d: %s: %s: %s\n", m.line, m.file, strings.Join(m.cases, " "), result)
	}
	if missed > 0 {
		return fmt.Errorf("%d of %d mistakes were not found", missed, len(mistakes))
	}
	return nil
}

func main() {
	only := flag.String("only", "", "try mistakes only whose `first line` this regular expression matches")
	flag.Parse()
	build, err := filepath.Abs(flag.Arg(0))
	if err == nil {
		var pattern *regexp.Regexp
		if pattern, err = regexp.Compile(*only); err == nil {
			err = test(build, pattern)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
