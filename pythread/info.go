package pythread

import "runtime"

// Info describes how threads and locks are made.
//
// It stands for Python's sys.thread_info (3.3).
type Info struct {
	Name    string // what a thread is
	Lock    string // what a lock is
	Version string // the version of the system that provides the threads
}

// GetInfo describes this package's threads: Name is "goroutine"; Lock is
// "semaphore", because a [Lock] is a binary semaphore; Version is the Go
// runtime's, from runtime.Version. GetInfo never blocks and is safe for
// concurrent use.
//
// It mirrors PyThread_GetInfo (3.3), whose Name is the name of the system's
// threads, such as "pthread".
func GetInfo() Info {
	return Info{Name: "goroutine", Lock: "semaphore", Version: runtime.Version()}
}
