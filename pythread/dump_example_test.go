package pythread_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed-c0a0ef17/pythread/pythread"
)

// A thread takes longer than it should. Why?
func ExampleDump() {
	pythread.EnableDump()
	var lock pythread.Lock
	lock.Acquire()
	thread := pythread.Start(lock.Acquire)
	thread.SetName("reader")

	var text strings.Builder // in a program, os.Stderr
	select {
	case <-thread.Done():
	case <-time.After(10 * time.Millisecond):
		pythread.Dump(&text)
	}
	fmt.Println(strings.Contains(text.String(), thread.String()))

	lock.Release()
	thread.Join()
	text.Reset()
	pythread.Dump(&text)
	fmt.Println(strings.Contains(text.String(), thread.String()))
	// Output:
	// true
	// false
}
