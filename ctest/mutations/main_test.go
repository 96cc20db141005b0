package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// exists reports whether there is a case with this name.
func exists(name string) bool {
	concept, test, _ := strings.Cut(name, ".")
	files, head := filepath.Join("ctest", concept+"_test.c"), "\nTEST("+test+")\n"
	if isGo(test) {
		files, head = filepath.Join(concept, "*_test.go"), "\nfunc "+test+"(t *testing.T) {\n"
	} else if script := filepath.Join("ctest", concept+"_test.sh"); isFile(script) {
		files, head = script, "\ntest_"+test+"() {\n"
	}
	paths, _ := filepath.Glob(files)
	return slices.ContainsFunc(paths, func(path string) bool {
		source, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(source), head)
	})
}

// TestMistakesStandInTheSources checks, without a build, that each text of the
// list stands once in its file, and that each case exists.
func TestMistakesStandInTheSources(t *testing.T) {
	t.Chdir("../..")
	mistakes, err := parse(list)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBench("")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(b.dir)
	for _, m := range mistakes {
		if _, _, err := b.find(m); err != nil {
			t.Errorf("mistakes.txt:%d: %s: %v", m.line, m.file, err)
		}
		for _, name := range m.cases {
			if !exists(name) {
				t.Errorf("mistakes.txt:%d: there is no case %s", m.line, name)
			}
		}
	}
}
