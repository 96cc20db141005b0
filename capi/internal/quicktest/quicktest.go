// Package quicktest has the functions of quick.c with a clock, a number of
// processors and ends of threads that a test sets.
package quicktest

/*
#cgo CFLAGS: -std=gnu11 -I${SRCDIR}/.. -I${SRCDIR}/../../../include
// The library is in this process too, so all of this has other names.
#define os_now_ns test_now_ns
#define os_processors test_processors
#define end_counts test_end_counts
#define ends_wait test_ends_wait
#define quick_start test_start
#define quick_started test_started
#define quick_wait test_wait
#define quick_joined test_joined
#include "thread/quick.c"

static int64_t clock_ns;
static int processors = 2;

// Each look at the clock takes 100 ns.
int64_t os_now_ns(void)
{
    return clock_ns += 100;
}

int os_processors(void)
{
    return processors;
}

struct end_count end_counts[END_COUNTS];

static int64_t slept_ns;

// A sleep takes no time here.
void ends_wait(PyThread_ident_t ident, unsigned seen, int64_t deadline)
{
    (void)ident;
    (void)seen;
    slept_ns += deadline - clock_ns;
}

static int64_t slept(void)
{
    return slept_ns;
}

static void set_processors(int count)
{
    processors = count;
}

static void advance(int64_t ns)
{
    clock_ns += ns;
}

static int64_t passed(void)
{
    return clock_ns;
}

static void count_end(PyThread_ident_t ident)
{
    atomic_fetch_add(&end_count_of(ident)->ends, 1);
}
*/
import "C"

import (
	"time"

	// With package thread the go command builds this package again when quick.c has
	// changed. Package thread needs the rest of capi.
	_ "github.com/seed-c0a0ef17/pythread/capi"
	_ "github.com/seed-c0a0ef17/pythread/capi/internal/thread"
)

// thread is a thread that Start has started.
type thread struct {
	ident C.PyThread_ident_t
	// quick reports whether the start was quick.
	quick bool
}

var newest C.PyThread_ident_t

// start starts a thread.
func start() thread {
	newest++
	t := thread{newest, bool(C.test_start())}
	C.test_started(t.ident, C.ends_seen(t.ident), C.bool(t.quick))
	return t
}

// end ends the thread.
func (t thread) end() { C.count_end(t.ident) }

// wait begins a join, and returns for how long the join has looked for the end, and
// for how long it would sleep at most.
func (t thread) wait() (looked, slept time.Duration) {
	passed, before := C.passed(), C.slept()
	C.test_wait(C.PyThread_handle_t(t.ident))
	return time.Duration(C.passed() - passed), time.Duration(C.slept() - before)
}

// joined ends a join.
func (t thread) joined() { C.test_joined(C.PyThread_handle_t(t.ident)) }

func pass(d time.Duration) { C.advance(C.int64_t(d)) }

func setProcessors(count int) { C.set_processors(C.int(count)) }
