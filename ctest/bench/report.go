package main

import (
	_ "embed"
	"encoding/json"
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
	"unicode/utf8"
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

// section is a group with its results.
type section struct {
	Title string   `json:"title"`
	Ours  []string `json:"ours"`
	Rows  []line   `json:"rows"`

	limits []string
}

// line is a row of the table. A spread is nil if a layer was not measured.
type line struct {
	Work    string  `json:"work"`
	Against string  `json:"against"`
	Unit    string  `json:"unit"`
	Rounds  int     `json:"rounds"`
	Columns []cell  `json:"columns"`
	Theirs  *spread `json:"theirs,omitempty"`

	pictured bool
}

// cell is a row's result for one of our layers.
type cell struct {
	// The ratio to reach; 0 means no target.
	Target float64 `json:"target,omitempty"`
	Ratio  *spread `json:"ratio,omitempty"`
	Ours   *spread `json:"ours,omitempty"`
}

// compare fills in the rows.
func (r results) compare() []section {
	var sections []section
	for _, g := range groups() {
		s := section{Title: g.title, limits: g.limits}
		for _, c := range g.columns {
			s.Ours = append(s.Ours, c.title)
		}
		for _, w := range g.works {
			for _, p := range w.peers {
				s.Rows = append(s.Rows, r.line(g, w, p))
			}
		}
		sections = append(sections, s)
	}
	return sections
}

func (r results) line(g group, w work, p peer) line {
	theirs := r[measured{w.id, p.layer}]
	l := line{Work: w.name, Against: p.layer, Unit: w.unit, Theirs: spreadOf(theirs), pictured: p.pictured}
	if l.Unit == "" {
		l.Unit = "ns"
	}
	for i, column := range g.columns {
		ours := r[measured{w.id, column.layer}]
		c := cell{Ours: spreadOf(ours)}
		l.Rounds = max(l.Rounds, len(ours))
		if i < len(p.targets) {
			c.Target = p.targets[i]
		}
		c.Ratio = ratio(theirs, ours)
		l.Columns = append(l.Columns, c)
	}
	return l
}

// ratio returns nil if one layer was not measured, or took no time.
func ratio(theirs, ours []float64) *spread {
	if len(theirs) != len(ours) || len(ours) == 0 || min(slices.Min(theirs), slices.Min(ours)) <= 0 {
		return nil
	}
	var ratios []float64
	for round := range ours {
		ratios = append(ratios, theirs[round]/ours[round])
	}
	return spreadOf(ratios)
}

func report(r results) {
	sections, about := r.compare(), describe()
	text := markdown(sections, about)
	write("bench.md", text)
	document, err := json.MarshalIndent(map[string]any{"about": about, "sections": sections}, "", "  ")
	check(err)
	write("bench.json", string(document)+"\n")
	draw(sections)
	fmt.Print("\n", text)
}

func write(name, contents string) {
	check(os.WriteFile(filepath.Join(*out, name), []byte(contents), 0o666))
}

// describe returns one line about the machine and the versions.
func describe() string {
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
	if hasProcess("CPython") {
		about += fmt.Sprintf(", libpython3.%d", minor(*libpython))
	}
	if python != "" {
		version, _ := run(exec.Command(python, "--version"))
		about += ", " + strings.TrimSpace(version)
	}
	return fmt.Sprintf("%s; %d rounds", about, *rounds)
}

// ---- the tables ------------------------------------------------------------

// digits prints two significant digits, and more of large numbers.
func digits(value float64) string {
	if value == math.Trunc(value) {
		return strconv.FormatFloat(value, 'f', 0, 64)
	}
	places := 1 - int(math.Floor(math.Log10(math.Abs(value))))
	return strconv.FormatFloat(value, 'f', max(places, 0), 64)
}

var scales = map[string][]string{
	"ns":      {" ns", " µs", " ms", " s"},
	"bytes":   {" bytes", " kB", " MB", " GB"},
	"threads": {""},
}

func quantity(value float64, unit string) string {
	scale := scales[unit]
	for len(scale) > 1 && math.Abs(value) >= 1000 {
		value, scale = value/1000, scale[1:]
	}
	return digits(value) + scale[0]
}

func median(s *spread, unit string) string {
	if s == nil {
		return "–"
	}
	return quantity(s.Median, unit)
}

// text returns the cell's text in the table.
func (c cell) text(unit string) string {
	if c.Ratio == nil {
		return median(c.Ours, unit)
	}
	target := ""
	if c.Target != 0 {
		target = " of " + strconv.FormatFloat(c.Target, 'g', 2, 64)
	}
	text := fmt.Sprintf("**%s**%s (%s–%s)", digits(c.Ratio.Median), target, digits(c.Ratio.Lower),
		digits(c.Ratio.Upper))
	if unit != "ns" {
		text += "; " + median(c.Ours, unit)
	}
	return text
}

const introduction = `# Speed

Each ratio is the time or memory that another layer takes, divided by what libpythread takes. Above 1, libpythread
is faster or smaller. A cell has the median of all rounds in bold, the target if there is one, the quartiles, and for
sizes what libpythread takes. The last column has what the other layer takes. CLEAN and ALWAYS are modes of the
library (` + "`pythread_set_reuse`" + `). The preset ` + "`bench`" + ` measures, and the target ` + "`bench-save`" + ` then writes this file.

![some of the ratios](../ctest/bench/bench.svg)
`

func markdown(sections []section, about string) string {
	var text strings.Builder
	text.WriteString(introduction)
	fmt.Fprintf(&text, "\n%s.\n", about)
	for _, s := range sections {
		lines := [][]string{append(append([]string{"work", "against"}, s.Ours...), "theirs")}
		for _, l := range s.Rows {
			cells := []string{l.Work, l.Against}
			for _, c := range l.Columns {
				cells = append(cells, c.text(l.Unit))
			}
			lines = append(lines, append(cells, median(l.Theirs, l.Unit)))
		}
		fmt.Fprintf(&text, "\n## %s\n\n%s", s.Title, table(lines))
		if len(s.limits) > 0 {
			text.WriteString("\nWhat keeps rows below 1, or below their targets:\n\n")
		}
		for _, limit := range s.limits {
			fmt.Fprintf(&text, "- %s\n", limit)
		}
	}
	return text.String()
}

// table returns lines with a header as a Markdown table, with aligned columns.
func table(lines [][]string) string {
	rule := slices.Repeat([]string{"---"}, len(lines[0]))
	lines = slices.Insert(lines, 1, rule)
	var text strings.Builder
	for _, cells := range lines {
		for column, cell := range cells {
			width := 0
			for _, other := range lines {
				width = max(width, utf8.RuneCountInString(other[column]))
			}
			fill := " "
			if cell == "---" {
				fill = "-"
			}
			text.WriteString("| " + cell + strings.Repeat(fill, width-utf8.RuneCountInString(cell)) + " ")
		}
		text.WriteString("|\n")
	}
	return text.String()
}

// ---- the picture -----------------------------------------------------------

//go:embed bench.gp
var script string

// draw runs bench.gp with its data.
func draw(sections []section) {
	write("bench.gp", bars(sections)+script)
	command := exec.Command("gnuplot", "bench.gp")
	command.Dir = *out
	if command.Err != nil {
		log.Print("gnuplot is missing: no picture is drawn")
		return
	}
	run(command)
}

// bars returns the ratios that the picture shows, each for one line: number of the
// line from above, label, ratio, and the ratio's text. Titles have lines of their
// own.
func bars(sections []section) string {
	var data strings.Builder
	data.WriteString("$bars << END\n")
	at := 0
	for _, s := range sections {
		isFirst := true
		for _, l := range s.Rows {
			if !l.pictured || l.Columns[0].Ratio == nil {
				continue
			}
			if isFirst {
				fmt.Fprintf(&data, "%d\t%s\t1\t\n", at, s.Title)
				at++
				isFirst = false
			}
			ratio := l.Columns[0].Ratio.Median
			fmt.Fprintf(&data, "%d\t%s · %s\t%g\t%s\n", at, l.Work, l.Against, ratio, digits(ratio))
			at++
		}
	}
	return fmt.Sprintf("%sEND\nlines = %d\n", data.String(), at)
}
