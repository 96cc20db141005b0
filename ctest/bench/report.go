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

	limits    []string
	tableOnly bool
}

// line is a row of the table. Against is empty if no other layer does the work, and
// a spread is nil if a layer was not measured.
type line struct {
	Work    string  `json:"work"`
	Against string  `json:"against,omitempty"`
	Unit    string  `json:"unit"`
	Rounds  int     `json:"rounds"`
	Columns []cell  `json:"columns"`
	Theirs  *spread `json:"theirs,omitempty"`
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
		s := section{Title: g.title, limits: g.limits, tableOnly: g.tableOnly}
		for _, c := range g.columns {
			s.Ours = append(s.Ours, c.title)
		}
		for _, w := range g.works {
			for _, p := range w.peers {
				s.Rows = append(s.Rows, r.line(g, w, p))
			}
			if len(w.peers) == 0 {
				s.Rows = append(s.Rows, r.line(g, w, peer{}))
			}
		}
		sections = append(sections, s)
	}
	return sections
}

func (r results) line(g group, w work, p peer) line {
	theirs := r[measured{w.id, p.layer}]
	l := line{Work: w.name, Against: p.layer, Unit: w.unit, Theirs: spreadOf(theirs)}
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

// curve is the time that one layer takes for each of n things, for several n.
type curve struct {
	Title  string    `json:"title"`
	Item   string    `json:"item"`
	Layer  string    `json:"layer"`
	Counts []int     `json:"counts"`
	Median []float64 `json:"median"`
}

func (r results) curves() []curve {
	var all []curve
	for _, g := range growths {
		for _, layer := range g.layers {
			c := curve{Title: g.title, Item: g.item, Layer: layer}
			for _, n := range g.numbers {
				if s := spreadOf(r[measured{g.work.of(n), layer}]); s != nil {
					c.Counts, c.Median = append(c.Counts, n), append(c.Median, s.Median)
				}
			}
			if c.Counts != nil {
				all = append(all, c)
			}
		}
	}
	return all
}

func report(r results) {
	sections, curves, about := r.compare(), r.curves(), describe()
	text := markdown(sections, curves, about)
	write("bench.md", text)
	document, err := json.MarshalIndent(map[string]any{
		"about": about, "sections": sections, "curves": curves}, "", "  ")
	check(err)
	write("bench.json", string(document)+"\n")
	draw(sections, curves)
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

// digits prints three significant digits.
func digits(value float64) string {
	if value == math.Trunc(value) {
		return strconv.FormatFloat(value, 'f', 0, 64)
	}
	places := 2 - int(math.Floor(math.Log10(math.Abs(value))))
	return strconv.FormatFloat(value, 'f', max(places, 0), 64)
}

var scales = map[string][]string{
	"ns":          {" ns", " µs", " ms", " s"},
	"bytes":       {" bytes", " kB", " MB", " GB"},
	"allocations": {""},
	"threads":     {""},
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
		target = " of ≥ " + strconv.FormatFloat(c.Target, 'g', 2, 64)
	}
	return fmt.Sprintf("**%s** (%s to %s)%s; %s", digits(c.Ratio.Median), digits(c.Ratio.Lower),
		digits(c.Ratio.Upper), target, median(c.Ours, unit))
}

const introduction = `# Speed

Each ratio is the time or memory that another layer takes, divided by what libpythread takes. Above 1, libpythread
is faster or smaller. A cell has the median of all rounds in bold, the quartiles, the target if there is one, and
what libpythread takes. CLEAN and ALWAYS are modes of the library (` + "`pythread_set_reuse`" + `). The preset
` + "`bench`" + ` measures, and the target ` + "`bench-save`" + ` then writes this file.

![the ratios, and what grows with the number of threads, locks and keys](../ctest/bench/bench.svg)
`

func markdown(sections []section, curves []curve, about string) string {
	var text strings.Builder
	text.WriteString(introduction)
	fmt.Fprintf(&text, "\n%s.\n", about)
	for _, s := range sections {
		lines := [][]string{append(append([]string{"work", "against"}, s.Ours...), "theirs")}
		for _, l := range s.Rows {
			cells := []string{l.Work, dashed(l.Against)}
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
	text.WriteString("\n## As the number grows\n\nThe time for each.\n")
	for _, g := range growths {
		header := []string{g.title}
		for _, n := range g.numbers {
			header = append(header, count(n, g.item))
		}
		lines := [][]string{header}
		for _, c := range curves {
			if c.Title != g.title {
				continue
			}
			cells := []string{c.Layer}
			for _, n := range g.numbers {
				cell := "–"
				if i := slices.Index(c.Counts, n); i >= 0 {
					cell = quantity(c.Median[i], "ns")
				}
				cells = append(cells, cell)
			}
			lines = append(lines, cells)
		}
		text.WriteString("\n" + table(lines))
	}
	return text.String()
}

func dashed(text string) string {
	if text == "" {
		return "–"
	}
	return text
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
func draw(sections []section, curves []curve) {
	contents := bars(sections) + panels(curves) + script
	write("bench.gp", contents)
	command := exec.Command("gnuplot", "bench.gp")
	command.Dir = *out
	if command.Err != nil {
		log.Print("gnuplot is missing: no picture is drawn")
		return
	}
	run(command)
}

// bars returns the ratios, each for one line of the picture: number of the line from
// above, label, median, quartiles, text of the median, and median in mode ALWAYS.
// Titles of sections have lines of their own.
func bars(sections []section) string {
	var data, titles strings.Builder
	data.WriteString("$bars << END\n")
	at := 0
	for _, s := range sections {
		rows := slices.DeleteFunc(slices.Clone(s.Rows), func(l line) bool {
			return s.tableOnly || l.Columns[0].Ratio == nil || l.Unit == "allocations"
		})
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(&titles, "set label '%s' at screen 0.01, first -%d font 'Arial Bold,12';", s.Title, at)
		for _, l := range rows {
			at++
			first := l.Columns[0]
			fmt.Fprintf(&data, "%d\t%s · %s\t%g\t%g\t%g\t%s", at, l.Work, l.Against, first.Ratio.Median,
				first.Ratio.Lower, first.Ratio.Upper, digits(first.Ratio.Median))
			value := "NaN"
			if i := slices.Index(s.Ours, always); i > 0 && l.Columns[i].Ratio != nil {
				value = fmt.Sprint(l.Columns[i].Ratio.Median)
			}
			data.WriteString("\t" + value + "\n")
		}
		at += 2
	}
	return fmt.Sprintf("%sEND\nlines = %d\ntitles = \"%s\"\n", data.String(), at, titles.String())
}

// colored has the layers with curves, in the order of the line styles in bench.gp.
var colored = []string{clean, always, "CPython", "pthreads", "PyMutex", "nsync_mu"}

// panels returns the curves, and the plots of each growth.
func panels(curves []curve) string {
	var data strings.Builder
	for i, g := range growths {
		var plots []string
		for _, c := range curves {
			if c.Title != g.title {
				continue
			}
			style := slices.Index(colored, c.Layer) + 1
			name := fmt.Sprintf("$curve_%d_%d", i, style)
			fmt.Fprintf(&data, "%s << END\n", name)
			for j, n := range c.Counts {
				fmt.Fprintf(&data, "%d\t%g\n", n, c.Median[j])
			}
			data.WriteString("END\n")
			plots = append(plots, fmt.Sprintf("%s using 1:($2 * 1e-9) linestyle %d notitle", name, style))
		}
		fmt.Fprintf(&data, "title_%d = \"%s\"\nitems_%d = \"%ss\"\nplots_%d = \"%s\"\n",
			i, g.title, i, g.item, i, strings.Join(plots, ", "))
	}
	return data.String()
}
