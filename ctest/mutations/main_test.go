package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
			concept, test, _ := strings.Cut(name, ".")
			source, _ := os.ReadFile(filepath.Join("ctest", concept+"_test.c"))
			script, _ := os.ReadFile(filepath.Join("ctest", concept+"_test.sh"))
			if !strings.Contains(string(source), "\nTEST("+test+")\n") &&
				!strings.Contains(string(script), "\ntest_"+test+"() {\n") {
				t.Errorf("mistakes.txt:%d: there is no case %s", m.line, name)
			}
		}
	}
}
