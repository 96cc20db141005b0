package pythread

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// runningThread returns a thread that runs until the test is over or the
// returned function is called.
func runningThread(t *testing.T) (h *Handle, end func()) {
	gate := make(chan struct{})
	end = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(end)
	return Start(func() { <-gate }), end
}

// wantValue checks a thread's value. If ok is false, the thread must have none.
func wantValue[T comparable](t *testing.T, key *TSS[T], h *Handle, want T, ok bool) {
	t.Helper()
	if got, has := key.Get(h); got != want || has != ok {
		t.Errorf("Get() of thread %d = %v, %v, want %v, %v", h.Ident(), got, has, want, ok)
	}
}

func TestThreadHasNoValueUntilSet(t *testing.T) {
	var key TSS[int]
	h, _ := runningThread(t)
	wantValue(t, &key, h, 0, false)
	key.Set(h, 0) // the zero value is a value
	wantValue(t, &key, h, 0, true)
}

func TestValuesAreSeparateByThreadAndKey(t *testing.T) {
	var one, two TSS[string]
	a, _ := runningThread(t)
	b, _ := runningThread(t)
	one.Set(a, "one a")
	two.Set(a, "two a")
	one.Set(b, "one b")
	wantValue(t, &one, a, "one a", true)
	wantValue(t, &two, a, "two a", true)
	wantValue(t, &one, b, "one b", true)
	wantValue(t, &two, b, "", false)
}

func TestSetOverwrites(t *testing.T) {
	var key TSS[int]
	h, _ := runningThread(t)
	for want := range 3 {
		key.Set(h, want)
		wantValue(t, &key, h, want, true)
	}
}

func TestDeleteTakesOneThreadsValue(t *testing.T) {
	var key TSS[int]
	a, _ := runningThread(t)
	b, _ := runningThread(t)
	key.Delete(a) // of nothing: no harm
	key.Set(a, 1)
	key.Set(b, 2)
	key.Delete(a)
	wantValue(t, &key, a, 0, false)
	wantValue(t, &key, b, 2, true)
	key.Set(a, 3)
	wantValue(t, &key, a, 3, true)
}

func TestClearTakesEveryThreadsValue(t *testing.T) {
	var key, other TSS[int]
	var handles []*Handle
	for i := range 10 {
		h, _ := runningThread(t)
		key.Set(h, i)
		other.Set(h, i)
		handles = append(handles, h)
	}
	key.Clear()
	for i, h := range handles {
		wantValue(t, &key, h, 0, false)
		wantValue(t, &other, h, i, true)
		if n := len(h.record.Load().keys); n != 1 {
			t.Errorf("thread %d is left with %d keys, want 1", h.Ident(), n)
		}
	}
	key.Set(handles[0], 7)
	wantValue(t, &key, handles[0], 7, true)
}

func TestValuesGoWithTheThread(t *testing.T) {
	for name, fn := range map[string]func(){
		"return": func() {},
		"panic":  func() { panic("out") },
		"Goexit": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			var one TSS[int]
			var two TSS[string]
			h := StartWith(func(h *Handle) {
				one.Set(h, 1)
				two.Set(h, "two")
				fn()
			})
			h.Join()
			wantValue(t, &one, h, 0, false)
			wantValue(t, &two, h, "", false)
			eventually(t, func() error { return holdsNothing(&one) })
		})
	}
}

func TestEndedThreadTakesNoValue(t *testing.T) {
	var key TSS[int]
	never, had := Start(func() {}), StartWith(func(h *Handle) { key.Set(h, 1) })
	for _, h := range []*Handle{never, had} {
		h.Join()
		key.Set(h, 2)
		wantValue(t, &key, h, 0, false)
		key.Delete(h)
		wantValue(t, &key, h, 0, false)
	}
}

func TestDeferredCallsOfTheThreadSeeItsValues(t *testing.T) {
	var key TSS[int]
	h := StartWith(func(h *Handle) {
		defer wantValue(t, &key, h, 1, true)
		key.Set(h, 1)
	})
	h.Join()
}

func TestOneThreadMayHaveManyKeys(t *testing.T) {
	keys := make([]TSS[int], 100_000)
	if testing.Short() {
		keys = keys[:5000]
	}
	h := StartWith(func(h *Handle) {
		for i := range keys {
			keys[i].Set(h, i)
		}
		for i := range keys {
			if got, ok := keys[i].Get(h); got != i || !ok {
				t.Errorf("key %d has %d, %v", i, got, ok)
			}
		}
	})
	h.Join()
	for i := range keys {
		if _, ok := keys[i].Get(h); ok {
			t.Fatalf("key %d has a value after the thread", i)
		}
	}
}

func TestEndedThreadKeepsNoValueAlive(t *testing.T) {
	var key TSS[*[1 << 10]byte]
	var gone atomic.Bool
	h := StartWith(func(h *Handle) {
		value := new([1 << 10]byte)
		runtime.AddCleanup(value, func(struct{}) { gone.Store(true) }, struct{}{})
		key.Set(h, value)
	})
	h.Join()
	eventually(t, func() error {
		runtime.GC()
		if !gone.Load() {
			return errors.New("the value has not been collected")
		}
		return nil
	})
	runtime.KeepAlive(h)
	runtime.KeepAlive(&key)
}

func TestKeysAreSafeForConcurrentUse(t *testing.T) {
	rounds := 200
	if testing.Short() {
		rounds /= 10
	}
	var keys [4]TSS[Ident]
	for range rounds {
		var threads, meddlers []*Handle
		for range 16 {
			threads = append(threads, StartWith(func(h *Handle) {
				for i := range keys {
					keys[i].Set(h, h.Ident())
				}
				for i := range keys {
					if got, ok := keys[i].Get(h); ok && got != h.Ident() {
						t.Errorf("thread %d sees the value %d", h.Ident(), got)
					}
				}
			}))
		}
		// Meddlers set and delete values of threads that run, are about to end
		// or have ended.
		for i := range keys {
			meddlers = append(meddlers, Start(func() {
				for _, h := range threads {
					keys[i].Set(h, h.Ident())
					keys[(i+1)%len(keys)].Delete(h)
				}
				keys[i].Clear()
				for _, h := range threads {
					keys[i].Set(h, h.Ident())
				}
			}))
		}
		for _, h := range append(threads, meddlers...) {
			h.Join()
		}
		for i := range keys {
			eventually(t, func() error { return holdsNothing(&keys[i]) })
		}
	}
}

// holdsNothing returns an error if the key keeps a value in memory, whether Get
// shows that value or not.
func holdsNothing[T any](key *TSS[T]) (err error) {
	key.values.Range(func(h, _ any) bool {
		err = fmt.Errorf("the key holds a value for thread %d", h.(*Handle).Ident())
		return false
	})
	return err
}
