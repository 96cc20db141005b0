package capi_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-c0a0ef17/pythread/capi"
	"github.com/seed-c0a0ef17/pythread/capi/internal/capitest"
	"github.com/seed-c0a0ef17/pythread/pythread"
)

// newKeys makes keys, which are freed when the test ends.
func newKeys(t *testing.T, n int) []capitest.Key {
	keys := make([]capitest.Key, n)
	for i := range keys {
		keys[i] = capitest.NewKey()
		t.Cleanup(keys[i].Free)
	}
	return keys
}

// sets sets the caller's values of the keys to first, first+1, ...
func sets(keys []capitest.Key, first int) {
	for i, key := range keys {
		key.Set(uintptr(first + i))
	}
}

// has checks that the caller has these values, or none if first is 0.
func has(t *testing.T, keys []capitest.Key, first int) {
	t.Helper()
	for i, key := range keys {
		want := uintptr(first + i)
		if first == 0 {
			want = 0
		}
		if got := key.Get(); got != want {
			t.Fatalf("key %d of %d has %d, want %d", i, len(keys), got, want)
		}
	}
}

// fewAndMany are numbers of keys for which C keeps values in different ways.
var fewAndMany = []int{1, 3, 4, 5, 100}

func TestInDoTheCallerIsTheThread(t *testing.T) {
	h, _ := live(t)
	// Locked, so that both calls outside of Do are on the same OS thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := capitest.Ident()
	calls := 0
	capi.Do(h, func() {
		calls++
		if got := capitest.Ident(); got != h.Ident() {
			t.Errorf("the ident in Do is %d, want %d", got, h.Ident())
		}
		if got, ok := capi.FromIdent(h.Ident()); !ok || got != h {
			t.Errorf("FromIdent in Do: %v, %v, want %v", got, ok, h)
		}
	})
	if after := capitest.Ident(); after != before || before == h.Ident() {
		t.Errorf("the ident is %d before Do and %d after", before, after)
	}
	if calls != 1 {
		t.Errorf("fn was called %d times", calls)
	}
	drained(t)
}

func TestAThreadMayDoItself(t *testing.T) {
	var inside pythread.Ident
	h := pythread.StartWith(func(h *pythread.Handle) {
		capi.Do(h, func() { inside = capitest.Ident() })
	})
	if h.Join(); inside != h.Ident() {
		t.Errorf("the ident in Do is %d, want %d", inside, h.Ident())
	}
	drained(t)
}

func TestValuesFollowTheirThread(t *testing.T) {
	for _, n := range fewAndMany {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			keys := newKeys(t, n)
			a, endA := live(t)
			b, endB := live(t)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			capi.Do(a, func() { has(t, keys, 0); sets(keys, 1000) })
			has(t, keys, 0)
			capi.Do(b, func() { has(t, keys, 0); sets(keys, 2000) })
			for range 3 {
				elsewhere(func() {
					has(t, keys, 0)
					capi.Do(a, func() { has(t, keys, 1000) })
					has(t, keys, 0)
				})
				capi.Do(b, func() { has(t, keys, 2000); sets(keys[:1], 2000) })
				capi.Do(a, func() { has(t, keys, 1000) })
			}
			if got := capi.Guests(); got != 2 {
				t.Errorf("%d threads have values, want 2", got)
			}
			endA()
			eventually(t, "the first thread's values are gone", func() bool { return capi.Guests() == 1 })
			capi.Do(b, func() { has(t, keys, 2000) })
			endB()
			drained(t)
		})
	}
}

// A wait shows which sections an OS thread is in, because it suspends them.
func TestASectionIsThatOfTheOSThreadOrOfTheThreadInDo(t *testing.T) {
	outer, inner, held := newMutex(t), newMutex(t), newMutex(t)
	held.Lock()
	check := func(m capi.Mutex, isSuspended bool, when string) {
		t.Helper()
		timeout := int64(5_000)
		if isSuspended {
			timeout = 30_000_000
		}
		got := make(chan bool)
		go func() {
			locked := m.LockTimed(timeout) == pythread.Acquired
			if locked {
				m.Unlock()
			}
			got <- locked
		}()
		for {
			capitest.LockMutexTimed(held.Pointer(), 1000)
			select {
			case locked := <-got:
				if locked != isSuspended {
					t.Errorf("%s: suspended is %v, want %v", when, locked, isSuspended)
				}
				return
			default:
			}
		}
	}
	key := newKeys(t, 1)
	h, endThread := live(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	endOuter := capitest.BeginSection(outer.Pointer())
	capi.Do(h, func() {
		sets(key, 1) // so that the next Do finds all that this one leaves
		capitest.BeginSection(inner.Pointer())
		check(inner, true, "the thread's section in Do")
		check(outer, false, "the OS thread's section in Do")
	})
	check(inner, false, "the thread's section after Do")
	check(outer, true, "the OS thread's section after Do")
	capi.Do(h, func() { check(inner, false, "a section of the last Do in the next one") })
	if endOuter(); outer.IsLocked() || !inner.IsLocked() {
		t.Error("the end of a section unlocked another mutex")
	}
	endThread()
	drained(t)
}

func TestTheOSThreadsOwnValuesStay(t *testing.T) {
	for _, outer := range fewAndMany {
		for _, inner := range fewAndMany {
			keys := newKeys(t, max(outer, inner))
			h, end := live(t)
			runtime.LockOSThread()
			sets(keys[:outer], 10)
			capi.Do(h, func() {
				has(t, keys, 0)
				sets(keys[:inner], 1000)
				has(t, keys[:inner], 1000)
				has(t, keys[inner:], 0)
			})
			has(t, keys[:outer], 10)
			has(t, keys[outer:], 0)
			capi.Do(h, func() { has(t, keys[:inner], 1000) })
			for _, key := range keys {
				key.Set(0)
			}
			runtime.UnlockOSThread()
			end()
		}
	}
	drained(t)
}

func TestDoOfOneThreadInAnother(t *testing.T) {
	keys := newKeys(t, 5)
	a, endA := live(t)
	b, endB := live(t)
	is := func(h *pythread.Handle, first int) {
		t.Helper()
		if got := capitest.Ident(); got != h.Ident() {
			t.Errorf("the ident is %d, want %d", got, h.Ident())
		}
		has(t, keys, first)
	}
	capi.Do(a, func() {
		sets(keys, 10)
		capi.Do(b, func() {
			is(b, 0)
			sets(keys, 20)
			capi.Do(b, func() { is(b, 20) })
			is(b, 20)
		})
		is(a, 10)
		capi.Do(a, func() { is(a, 10) })
		capi.Do(b, func() { is(b, 20) })
		is(a, 10)
	})
	endA()
	endB()
	drained(t)
}

func TestPanicAndGoexitPutBackWhatWasBefore(t *testing.T) {
	keys := newKeys(t, 5)
	for name, leave := range map[string]func(){
		"panic":       func() { panic("out") },
		"Goexit":      runtime.Goexit,
		"exit_thread": capitest.Exit,
		"coroutine":   capitest.ExitInCoroutine,
	} {
		t.Run(name, func(t *testing.T) {
			outer, endOuter := live(t)
			inner, endInner := live(t)
			var after, last pythread.Ident
			done := make(chan any)
			go func() {
				runtime.LockOSThread() // so the OS thread ends too
				defer func() {
					value := recover()
					last = capitest.Ident()
					has(t, keys, 0)
					done <- value
				}()
				capi.Do(outer, func() {
					sets(keys, 10)
					defer func() {
						after = capitest.Ident()
						has(t, keys, 10)
					}()
					capi.Do(inner, func() {
						sets(keys, 20)
						leave()
					})
				})
				t.Error("Do returned")
			}()
			if value := <-done; (value == "out") != (name == "panic") {
				t.Errorf("recovered %v", value)
			}
			if after != outer.Ident() {
				t.Errorf("after the inner Do the ident is %d, want %d", after, outer.Ident())
			}
			if last == outer.Ident() || last == inner.Ident() {
				t.Errorf("after both the ident is %d still", last)
			}
			capi.Do(inner, func() { has(t, keys, 20) })
			capi.Do(outer, func() { has(t, keys, 10) })
			endOuter()
			endInner()
			drained(t)
		})
	}
}

func TestExitThreadEndsTheThreadThatDoesItself(t *testing.T) {
	goesOn := false
	for range 1000 {
		h := pythread.StartWith(func(h *pythread.Handle) {
			capi.Do(h, func() {
				capitest.Exit()
				goesOn = true
			})
			goesOn = true
		})
		if value := h.Join(); value != nil || goesOn {
			t.Fatalf("Join() = %v; did it go on? %v", value, goesOn)
		}
	}
	// No OS thread still has the identity of one of them.
	elsewhere(func() {
		if h, ok := capi.FromIdent(capitest.Ident()); ok {
			t.Errorf("an OS thread is thread %d still", h.Ident())
		}
	})
	drained(t)
}

func TestDoOfTheThreadThatTheCallerIsAlready(t *testing.T) {
	keys := newKeys(t, 5)
	_, handle := capitest.Start(func() {
		ident := capitest.Ident()
		sets(keys, 10)
		h, _ := capi.FromIdent(ident)
		capi.Do(h, func() {
			if got := capitest.Ident(); got != ident {
				t.Errorf("the ident in Do is %d, want %d", got, ident)
			}
			has(t, keys, 10)
			sets(keys, 20)
		})
		has(t, keys, 20)
	})
	capitest.Join(handle)
	drained(t)
}

func TestDoOfAnotherThreadInOneOfCs(t *testing.T) {
	keys := newKeys(t, 5)
	h, end := live(t)
	_, handle := capitest.Start(func() {
		ident := capitest.Ident()
		sets(keys, 10)
		capi.Do(h, func() {
			if got := capitest.Ident(); got != h.Ident() {
				t.Errorf("the ident in Do is %d, want %d", got, h.Ident())
			}
			has(t, keys, 0)
			sets(keys, 20)
		})
		if got := capitest.Ident(); got != ident {
			t.Errorf("the ident after Do is %d, want %d", got, ident)
		}
		has(t, keys, 10)
	})
	capitest.Join(handle)
	capi.Do(h, func() { has(t, keys, 20) })
	end()
	drained(t)
}

func TestAThreadCannotJoinItselfInDo(t *testing.T) {
	h, end := live(t)
	handle, _ := capi.ToHandle(h)
	capi.Do(h, func() {
		if err := capitest.Join(handle); err != syscall.EDEADLK {
			t.Errorf("join: %v, want EDEADLK", err)
		}
	})
	end()
	if err := capitest.Join(handle); err != 0 {
		t.Errorf("join: %v", err)
	}
	drained(t)
}

func TestRingsOfJoinsAreSeenAcrossGoAndC(t *testing.T) {
	// Each joins the next one. C started every second one.
	const ring = 4
	for range 100 {
		var handles [ring]uintptr
		var refused [ring]bool
		gate := make(chan struct{})
		joinNext := func(i int) {
			<-gate
			switch err := capitest.Join(handles[(i+1)%ring]); err {
			case 0, syscall.EINVAL:
			case syscall.EDEADLK:
				refused[i] = true
			default:
				t.Errorf("join: %v", err)
			}
		}
		for i := range ring {
			if i%2 == 0 {
				_, handles[i] = capitest.Start(func() { joinNext(i) })
			} else {
				handles[i], _ = capi.ToHandle(pythread.StartWith(func(h *pythread.Handle) {
					capi.Do(h, func() { joinNext(i) })
				}))
			}
		}
		close(gate)
		for _, handle := range handles {
			if err := capitest.Join(handle); err != 0 && err != syscall.EINVAL {
				t.Errorf("join: %v", err)
			}
		}
		if refused == [ring]bool{} {
			t.Fatal("no join of the ring was refused")
		}
	}
	drained(t)
}

func TestMisuseOfDoPanicsAndChangesNothing(t *testing.T) {
	none := func() { t.Error("fn was called") }
	ended := pythread.Start(func() {})
	ended.Join()
	running, end := live(t)
	gate := make(chan struct{})
	ident, handle := capitest.Start(func() { <-gate })
	ofC, _ := capi.FromIdent(ident)
	inDo, in := make(chan struct{}), make(chan struct{})
	busy, endBusy := live(t)
	go capi.Do(busy, func() { close(in); <-inDo })
	<-in
	for _, c := range []struct {
		name string
		h    *pythread.Handle
		fn   func()
		want string
	}{
		{"nil", nil, none, "capi: Do of no thread"},
		{"zero", new(pythread.Handle), none, "capi: Do of no thread"},
		{"nil function", running, nil, "capi: Do of a nil function"},
		{"ended", ended, none, "capi: Do of a thread that has ended"},
		{"thread of C", ofC, none, "capi: Do of a thread that runs elsewhere"},
		{"in another Do", busy, none, "capi: Do of a thread that runs elsewhere"},
	} {
		t.Run(c.name, func(t *testing.T) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			before := capitest.Ident()
			if got := recovered(func() { capi.Do(c.h, c.fn) }); got != c.want {
				t.Errorf("Do panics with %v, want %q", got, c.want)
			}
			if after := capitest.Ident(); after != before {
				t.Errorf("the ident was %d and is %d", before, after)
			}
		})
	}
	t.Run("further out", func(t *testing.T) {
		capi.Do(running, func() {
			other, endOther := live(t)
			defer endOther()
			capi.Do(other, func() {
				want := "capi: Do of a thread that runs elsewhere"
				if got := recovered(func() { capi.Do(running, none) }); got != want {
					t.Errorf("Do panics with %v, want %q", got, want)
				}
			})
		})
	})
	close(inDo)
	close(gate)
	capitest.Join(handle)
	t.Run("ended, of C", func(t *testing.T) {
		want := "capi: Do of a thread that has ended"
		if got := recovered(func() { capi.Do(ofC, none) }); got != want {
			t.Errorf("Do panics with %v, want %q", got, want)
		}
	})
	endBusy()
	end()
	drained(t)
}

func TestAThreadThatEndsDuringADoKeepsItsValuesToTheEndOfThat(t *testing.T) {
	for _, n := range fewAndMany {
		keys := newKeys(t, n)
		h, end := live(t)
		capi.Do(h, func() {
			sets(keys, 10)
			end()
			has(t, keys, 10)
			if got := capitest.Ident(); got != h.Ident() {
				t.Errorf("the ident is %d, want %d", got, h.Ident())
			}
		})
		// Also if its end is watched already, on an OS thread that has values too.
		h, end = live(t)
		runtime.LockOSThread()
		sets(keys, 30)
		capi.Do(h, func() { sets(keys, 20) })
		capi.Do(h, func() {
			end()
			time.Sleep(time.Millisecond) // for the watch to see it
			has(t, keys, 20)
		})
		has(t, keys, 30)
		for _, key := range keys {
			key.Set(0)
		}
		runtime.UnlockOSThread()
	}
	drained(t)
}

func TestOneGoroutineWatchesForTheEndOfAThread(t *testing.T) {
	keys := newKeys(t, 1)
	h, end := live(t)
	before := runtime.NumGoroutine()
	for i := range 1000 {
		capi.Do(h, func() { keys[0].Set(uintptr(i % 2)) })
	}
	if more := runtime.NumGoroutine() - before; more > 100 {
		t.Errorf("%d goroutines more", more)
	}
	end()
	drained(t)
}

func TestAfterADoAThreadOfCsExitsThroughItsCleanupHandlers(t *testing.T) {
	h, end := live(t)
	before := capitest.Cleanups()
	const rounds = 100
	for range rounds {
		capitest.Join(capitest.StartThatExits(func() { capi.Do(h, func() {}) }))
	}
	if ran := capitest.Cleanups() - before; ran != rounds {
		t.Errorf("%d of %d cleanup handlers ran", ran, rounds)
	}
	end()
	drained(t)
}

func TestValuesOfEndedThreadsTakeNoMemory(t *testing.T) {
	keys := newKeys(t, 100)
	round := func(n int) {
		for range n {
			pythread.StartWith(func(h *pythread.Handle) {
				capi.Do(h, func() { sets(keys, 1) })
			}).Join()
		}
		drained(t)
	}
	round(500)
	before := capitest.Allocated()
	round(5000)
	// Each had about 4 KiB.
	if grown := capitest.Allocated() - before; grown > 1<<20 {
		t.Errorf("%d bytes are left of 5000 threads", grown)
	}
}

func TestManyThreadsInManyPlacesKeepTheirValues(t *testing.T) {
	const threads, goroutines = 20, 8
	rounds := 2000
	if testing.Short() {
		rounds /= 10
	}
	keys := newKeys(t, 10)
	var busy [threads]sync.Mutex
	var handles [threads]*pythread.Handle
	var count [threads]int // how many keys the thread has set
	ends := make([]func(), threads)
	for i := range threads {
		handles[i], ends[i] = live(t)
	}
	var all sync.WaitGroup
	for g := range goroutines {
		all.Add(1)
		go func() {
			defer all.Done()
			random := rand.New(rand.NewPCG(uint64(g), 1))
			for range rounds {
				i := random.IntN(threads)
				if !busy[i].TryLock() {
					continue
				}
				capi.Do(handles[i], func() {
					if got := capitest.Ident(); got != handles[i].Ident() {
						t.Errorf("the ident is %d, want %d", got, handles[i].Ident())
					}
					has(t, keys[:count[i]], 100*i+1)
					has(t, keys[count[i]:], 0)
					if count[i] < len(keys) {
						keys[count[i]].Set(uintptr(100*i + 1 + count[i]))
						count[i]++
					} else {
						for _, key := range keys {
							key.Set(0)
						}
						count[i] = 0
					}
				})
				busy[i].Unlock()
			}
		}()
	}
	all.Wait()
	for _, end := range ends {
		end()
	}
	drained(t)
}

func BenchmarkDo(b *testing.B) {
	gate := make(chan struct{})
	h := pythread.Start(func() { <-gate })
	defer close(gate)
	key := capitest.NewKey()
	for _, values := range []string{"none", "some"} {
		b.Run(values, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				capi.Do(h, func() {})
			}
		})
		capi.Do(h, func() { key.Set(1) })
	}
}
