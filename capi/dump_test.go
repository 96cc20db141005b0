package capi_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/seed-c0a0ef17/pythread/capi"
	"github.com/seed-c0a0ef17/pythread/capi/internal/capitest"
	"github.com/seed-c0a0ef17/pythread/pythread"
)

// dumped returns the stack of the thread with that name, or "" if there is none.
func dumped(t *testing.T, name string) string {
	var text strings.Builder
	if err := pythread.Dump(&text); err != nil {
		t.Error(err)
	}
	_, stack, _ := strings.Cut(text.String(), " "+strconv.Quote(name)+" started ")
	stack, _, _ = strings.Cut(stack, "\nthread ")
	return stack
}

func TestThreadOfCsIsDumpedByItsNameUntilItsEnd(t *testing.T) {
	pythread.EnableDump()
	for name, start := range map[string]func(func()) uintptr{
		"returns": func(fn func()) uintptr { _, handle := capitest.Start(fn); return handle },
		"exits":   capitest.StartThatExits,
	} {
		t.Run(name, func(t *testing.T) {
			lock := capi.NewLock()
			lock.Acquire()
			handle := start(func() {
				capitest.SetName("reader")
				capitest.Acquire(lock.Pointer(), true)
			})
			eventually(t, "the dump tells the thread's name, and that it waits for a lock", func() bool {
				return strings.Contains(dumped(t, "reader"), "._Cfunc_PyThread_acquire_lock(")
			})
			lock.Release()
			if errno := capitest.Join(handle); errno != 0 {
				t.Error(errno)
			}
			if stack := dumped(t, "reader"); stack != "" {
				t.Errorf("the thread is dumped after its end:\n%s", stack)
			}
			lock.Free()
			drained(t)
		})
	}
}
