// Package pythread is CPython's thread layer, the PyThread_* functions,
// rebuilt on goroutines.
//
//   - [Start] runs a function as a thread; its [Handle] is joined, any number
//     of times, and tells how the thread ended.
//   - [Lock] is CPython's lock: a binary semaphore with blocking, timed and
//     interruptible acquires, which any goroutine may release.
//   - [TSS] keeps a value per thread.
//   - [ParseTimeout] and [GetInfo] are the logic behind the timeout arguments
//     of Python's thread functions and behind sys.thread_info.
//
// The package is pure Go, needs nothing but the standard library, and starts
// no goroutine but the threads it is asked for. Where a name mirrors a
// function of CPython its documentation names it, with the version that first
// had it unless all of Python 3 has.
package pythread
