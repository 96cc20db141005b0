package pythread_test

import (
	"runtime"
	"testing"

	"github.com/seed-c0a0ef17/pythread/pythread"
)

func TestPreparedThreadsRunOneAfterAnotherOnOneGoroutine(t *testing.T) {
	var key pythread.TSS[int]
	first, second := pythread.Prepare(), pythread.Prepare()
	ends := make(chan any, 2)
	for _, p := range []*pythread.Prepared{first, second} {
		go func() { ends <- p.Handle().Join() }()
	}
	first.Run(func(h *pythread.Handle) {
		key.Set(h, 1)
		if h != first.Handle() {
			t.Errorf("Run gives the handle of %v", h)
		}
		panic("the first")
	})
	select {
	case <-first.Handle().Done():
	default:
		t.Error("Run has returned before the thread's end")
	}
	select {
	case <-second.Handle().Done():
		t.Error("the end of one thread ended another")
	default:
	}
	second.Run(func(h *pythread.Handle) {
		if value, ok := key.Get(h); ok {
			t.Errorf("the second thread has the value %v of the first", value)
		}
	})
	if a, b := <-ends, <-ends; (a != "the first" || b != nil) && (b != "the first" || a != nil) {
		t.Errorf("the threads ended with %v and %v", a, b)
	}
	if first.Handle().Ident() >= second.Handle().Ident() {
		t.Errorf("idents %d, then %d", first.Handle().Ident(), second.Handle().Ident())
	}
}

func TestGoexitInRunEndsThreadAndGoroutine(t *testing.T) {
	p := pythread.Prepare()
	ended := make(chan struct{})
	returned := false
	go func() {
		defer close(ended)
		p.Run(func(*pythread.Handle) { runtime.Goexit() })
		returned = true
	}()
	<-ended
	if value := p.Handle().Join(); value != nil || returned {
		t.Errorf("Join() = %v, Run has returned: %v", value, returned)
	}
}

func TestAThreadRunsOnce(t *testing.T) {
	p := pythread.Prepare()
	p.Run(func(*pythread.Handle) {})
	for name, run := range map[string]func(){
		"a second Run": func() { p.Run(func(*pythread.Handle) {}) },
		"a Run of nil": func() { pythread.Prepare().Run(nil) },
		"a Run in its own func": func() {
			q := pythread.Prepare()
			q.Run(func(*pythread.Handle) { q.Run(func(*pythread.Handle) {}) })
			panic(q.Handle().Join())
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not panic", name)
				}
			}()
			run()
		}()
	}
}
