// Command bench compares libpythread with CPython's own thread layer, plain
// pthreads and others, and the Go package with the standard library. It writes
// the results to the directory of -out, as bench.md, bench.json and, if gnuplot is
// installed, bench.svg.
//
// Each layer has a process of its own. All layers do a work in turns, in many
// rounds, so that other programs on the machine disturb all layers alike. A ratio
// belongs to one round: the other layer's time divided by ours. Above 1 we are
// faster. The results are the median and the quartiles of all rounds. The command
// never fails because of a figure, only if something cannot run.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"time"
)

var (
	out        = flag.String("out", ".", "write the results to this `directory`")
	rounds     = flag.Int("rounds", 25, "measure that many rounds")
	most       = flag.Duration("most", time.Hour, "begin no further round after this `time`")
	goCommand  = flag.String("go", "go", "the go `command`")
	program    = flag.String("bench", "", "the `program` built from bench.c")
	handedOver = flag.String("handed", "", "the `program` built from handed/main.go")
	cksum      = flag.String("cksum", "", "the `program` pythread-cksum")
	library    = flag.String("library", "", "the `file` libpythread.so")
	empty      = flag.String("empty", "", "the Go library built from empty/main.go, a `file`")
	libpython  = flag.String("libpython", "",
		"the libpython (3.13 or newer) to compare with; when empty, the newest `file` that is found")
)

// measured is a work as one layer does it.
type measured struct {
	id
	layer string
}

// results has the values of all rounds, in the unit of the work.
type results map[measured][]float64

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench: ")
	flag.Parse()
	os.Unsetenv("LD_PRELOAD")
	began := time.Now()
	prepare()

	r := measureAll(present(tasks()))
	report(r)
	log.Printf("took %v; the results are in %s", time.Since(began).Round(time.Second), *out)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// measureAll measures round by round. The first round does not count, because it
// warms processes and caches.
func measureAll(all []task) results {
	r := results{}
	p := progress{began: time.Now(), all: (*rounds + 1) * len(all)}
	for round := range *rounds + 1 {
		if round > 1 && time.Since(p.began) > *most {
			*rounds = round - 1
			break
		}
		for i, t := range all {
			p.tell(fmt.Sprintf("round %d of %d, row %d of %d: %s", round, *rounds, i+1, len(all), t.name))
			if !t.isDue(round, i) {
				continue
			}
			for turn := range t.layers {
				layer := t.layers[(turn+round)%len(t.layers)]
				value := t.measure(layer)
				if round > 0 {
					r[measured{t.id, layer}] = append(r[measured{t.id, layer}], value)
				}
			}
		}
	}
	p.end()
	return r
}

// isDue reports whether this round measures the task. It spreads rare tasks over
// all rounds, and leaves them out of the first round.
func (t task) isDue(round, i int) bool {
	rarity := min(t.rarity, *rounds)
	return rarity == 1 || round > 0 && (round+i)%rarity == 0
}

// progress shows how far the run is: in one line of a terminal, or by a line every
// ten seconds.
type progress struct {
	began, told time.Time
	done, all   int
}

func (p *progress) tell(what string) {
	p.done++
	now := time.Now()
	left := ""
	if p.done > p.all/20 {
		each := float64(now.Sub(p.began)) / float64(p.done-1)
		wait := min(time.Duration(each*float64(p.all-p.done+1)), max(0, *most-now.Sub(p.began)))
		left = fmt.Sprintf(" (%v left)", wait.Round(time.Second))
	}
	if isTerminal() {
		fmt.Fprintf(os.Stderr, "\r\033[Kbench: %s%s", what, left)
	} else if now.Sub(p.told) > 10*time.Second {
		p.told = now
		log.Print(what + left)
	}
}

func (p *progress) end() {
	if isTerminal() {
		fmt.Fprint(os.Stderr, "\r\033[K")
	}
}

func isTerminal() bool {
	info, err := os.Stderr.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
