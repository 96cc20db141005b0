// Package pythread is CPython's thread layer, the PyThread_* functions,
// rebuilt on goroutines.
//
//   - [Start] runs a function as a thread. Its [Handle] may be joined any number
//     of times, and tells how the thread ended.
//   - [Lock] is CPython's lock: a binary semaphore with blocking, timed and
//     interruptible acquires, which any goroutine may release. [Mutex] is
//     CPython's PyMutex: the same in one byte.
//   - [TSS] keeps a value per thread.
//   - [ParseTimeout] and [GetInfo] are the logic behind the timeout arguments
//     of Python's thread functions and behind sys.thread_info.
//   - [Dump] writes what each thread does, for a program that hangs.
//
// The package is pure Go and needs only the standard library. It starts no other
// goroutines than the threads.
//
// # When to use it
//
// Use this package for code that is written against CPython's thread layer: an
// interpreter, a translation of one, or a Go program that shares its threads
// with C code by the package capi of this module. It also has what the standard
// library does not have:
//
//   - a lock that one goroutine acquires and another releases, or whose
//     acquire has a timeout or a context. A [sync.Mutex] has neither timeout
//     nor context. A channel of capacity 1 has both, in a select. But a Lock
//     costs a fraction of that, and prefers a waiter that has waited long.
//   - a thread that many others wait for, that reports its panic instead of
//     ending the process, or that has an identity and values of its own.
//
// Otherwise the go statement and package sync are the better choice. Every Go
// programmer knows them, and they can do more. A [sync.RWMutex] admits several
// readers at once. A [sync.WaitGroup] waits for many goroutines. A channel is one of
// several cases of a select. An unexpected panic ends the program instead of waiting
// for a Join.
//
// Start and Join cost about as much as a go statement and a channel. A Lock costs
// about as much as a sync.Mutex, or less if many goroutines contend for it.
//
// # What threads do
//
// In a program that has called [EnableDump], [Dump] writes what each thread waits
// for, and CPU and goroutine profiles have the label "thread". In an execution
// trace of [runtime/trace] every thread that starts during the trace is a task of
// type "pythread.thread". The log of the task has the thread's ident and name.
// All this also works for the threads of C code, by package capi.
//
// # Tests with testing/synctest
//
// All of this works in the bubbles of [testing/synctest], in the bubble's time. A
// goroutine that waits for a [Lock], a [Mutex] or in [Handle.Join] is durably
// blocked. A lock, a key or the handle of an ended thread may be used in one bubble
// after another, and outside. But as with a [sync.Cond], no goroutine of a bubble may
// wait for a release or a thread's end from outside the bubble: Go ends the process.
//
// # From CPython's names to Go's
//
// A name's documentation says which function of CPython it mirrors, and which
// version first had that function, unless all of Python 3 has it. The file
// docs/names.md of this module lists all names. Four functions of CPython have no
// counterpart here:
//
//   - PyThread_detach_thread: a caller that will not join a thread drops the
//     [Handle].
//   - PyThread_exit_thread: a thread ends early by [runtime.Goexit].
//   - PyThread_hang_thread: a thread hangs by select {}.
//   - PyThread_get_thread_native_id: a goroutine changes OS threads.
package pythread
