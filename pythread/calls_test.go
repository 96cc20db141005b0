package pythread

import (
	"math/rand/v2"
	"testing"
	"time"
)

// FuzzCalls makes the calls that its input spells, and compares every result
// with that of a simple model: a thread is a flag, a lock is a flag, a key is a
// map. Each byte is one call. The calls come one after the other, because an
// input cannot choose what happens between goroutines.
func FuzzCalls(f *testing.F) {
	f.Add([]byte{})
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		calls := make([]byte, 400)
		for i := range calls {
			calls[i] = byte(random.Uint32())
		}
		f.Add(calls)
	}
	f.Fuzz(func(t *testing.T, calls []byte) {
		const n = 4 // threads, locks and keys
		type thread struct {
			h     *Handle
			end   chan any // what to panic with
			ended bool
			value any
		}
		var (
			threads [n]*thread
			locks   [n]Lock
			keys    [n]TSS[byte]
			held    [n]bool
			values  [n]map[*Handle]byte
			last    Ident
		)
		start := func(i int) {
			th := &thread{end: make(chan any)}
			th.h = Start(func() { panic(<-th.end) })
			if ident := th.h.Ident(); ident <= last {
				t.Fatalf("ident %d after %d", ident, last)
			}
			last = th.h.Ident()
			threads[i] = th
		}
		end := func(th *thread, value any) {
			if th.ended {
				return
			}
			th.end <- value
			th.ended, th.value = true, value
			th.h.Join()
			for _, of := range values {
				delete(of, th.h)
			}
		}
		for i := range n {
			start(i)
			values[i] = map[*Handle]byte{}
		}
		defer func() {
			for _, th := range threads {
				end(th, 0)
			}
		}()

		for at, call := range calls {
			// The low bits choose the thread and the lock or key, the high bits
			// choose the call.
			th, i := threads[call&3], call>>2&3
			l, isHeld := &locks[i], &held[i]
			key, value := &keys[i], values[i]
			acquired := func(got LockStatus, busy LockStatus) {
				want := Acquired
				if *isHeld {
					want = busy
				}
				if got != want {
					t.Fatalf("call %d (%#x): acquire gives %v, want %v", at, call, got, want)
				}
				*isHeld = true
			}
			switch call >> 4 {
			case 0:
				end(th, at)
			case 1:
				if th.ended {
					start(int(call & 3))
				}
			case 2:
				select {
				case <-th.h.Done():
					if got := th.h.Join(); !th.ended || got != th.value {
						t.Fatalf("call %d (%#x): Join() = %v, want %v", at, call, got, th.value)
					}
				default:
					if th.ended {
						t.Fatalf("call %d (%#x): Done of an ended thread is open", at, call)
					}
				}
			case 3:
				acquired(try(l), Failure)
			case 4:
				acquired(l.AcquireTimed(int64(call&1)), Failure)
			case 5:
				acquired(l.AcquireContext(done()), Interrupted)
			case 6:
				status, err := l.AcquireWithRetries(time.Duration(call&1), nil)
				if err != nil {
					t.Fatalf("call %d (%#x): error %v", at, call, err)
				}
				acquired(status, Failure)
			case 7:
				if !*isHeld {
					acquired(l.AcquireTimed(-1), waits)
				}
			case 8, 9, 10:
				if panicked := recovered(l.Release) != nil; panicked == *isHeld {
					t.Fatalf("call %d (%#x): Release panicked is %v, held was %v", at, call, panicked, *isHeld)
				}
				*isHeld = false
			case 11, 12:
				key.Set(th.h, call)
				if !th.ended {
					value[th.h] = call
				}
			case 13:
				key.Delete(th.h)
				delete(value, th.h)
			case 14:
				if call&3 == 0 {
					key.Clear()
					clear(value)
				}
			case 15:
				Interrupt()
			}
			for k := range keys {
				got, ok := keys[k].Get(th.h)
				if want, has := values[k][th.h]; got != want || ok != has {
					t.Fatalf("call %d (%#x): key %d has %v, %v, want %v, %v", at, call, k, got, ok, want, has)
				}
			}
		}
	})
}
