package pythread

import "runtime"

// Info says what threads and locks are made of.
//
// It stands for Python's sys.thread_info (3.3).
type Info struct {
	Name    string // the threads
	Lock    string // the locks
	Version string // the version of what provides the threads
}

// GetInfo describes this package's threads: Name is "goroutine", Lock is
// "semaphore", as a [Lock] is a binary one, and Version is that of the Go
// runtime, as runtime.Version gives it. It never blocks and is safe for
// concurrent use.
//
// It mirrors PyThread_GetInfo (3.3), where Name tells the operating system's
// threads, such as "pthread".
func GetInfo() Info {
	return Info{Name: "goroutine", Lock: "semaphore", Version: runtime.Version()}
}
