// Package capi is CPython's thread API, the PyThread_* functions of
// include/pythread.h, for C code in the same process: the Go package pythread
// re-exported through //export functions.
//
// A Go program that imports capi offers these functions to the C code that it
// links or loads; capi/libpythread makes a shared library of them for programs
// in C. C code and Go code see the same threads, idents and locks:
//
//   - [FromHandle] and [FromIdent] give the [pythread.Handle] of a thread that
//     C started, and [ToHandle] gives C the right to join a thread that
//     Go started.
//   - [Do] runs calls into C as a given thread.
//   - [Lock] is a lock that C made, as a Go value, and [Mutex] is a PyMutex.
//
// # When to use it
//
// Use this package in a Go program that runs C code written against CPython's
// thread layer: an extension module, an interpreter, a plugin. Go code that only
// wants threads and locks takes package pythread, or the go statement and
// package sync: they need no cgo. A wait for a [pythread.Lock], a [sync.Mutex] or
// a [Mutex] costs a goroutine, where one for a [Lock] costs an OS thread.
//
// # C code in a Go program
//
// To import this package is all that the program has to do, if need be as
//
//	import _ "github.com/seed-c0a0ef17/pythread/capi"
//
// A plugin that the program loads with dlopen is linked to no library: it finds
// the functions in the program. The headers are in the directory that go list
// prints here. A C compiler finds them by -I, and so does cgo, for the C code in
// Go files, if the environment variable CGO_CPPFLAGS says so:
//
//	include=$(go list -f '{{.Dir}}' github.com/seed-c0a0ef17/pythread/include)
//	cc -shared -fPIC -I"$include" -o plugin.so plugin.c
//	CGO_CPPFLAGS=-I"$include" go build
//
// A goroutine that calls C code is no thread to it by itself, not even if it was
// started by [pythread.Start]: PyThread_get_thread_ident tells the OS thread that
// the call happens to be made on, values in thread-specific storage stay behind
// there, and PyThread_exit_thread and pthread_exit, which would end that OS
// thread, must not be called. In [Do] the caller is a thread. So it is in a thread
// that C code started, also in the Go functions that this one calls.
//
// # Signals and forks
//
// In a Go program a C thread runs on one of Go's OS threads, and Go's rules for
// signals hold:
//
//   - A handler that C code installs needs SA_ONSTACK. One without it that runs
//     while its thread is in Go may end the process.
//   - A signal for the process may run its handler on any OS thread.
//   - Go's OS threads unblock some signals, SIGCHLD, SIGPROF, SIGURG, signal 34
//     and those of faults among them: C code cannot keep these for sigwait or
//     signalfd.
//   - Go sends SIGURG to its OS threads. A handler that C code has for it runs
//     then, too.
//
// Where the system refuses memory or an OS thread to Go, Go ends the process.
// The child of a fork has the functions of pythread.h, with plain pthreads for
// threads, and must not enter Go.
//
// The library for programs in C, capi/libpythread, has none of these rules for
// signals.
//
// # How it is made
//
// Of a name PyThread_x, the C function stands in x's file here (thread.c,
// lock.c, tss.c, python.c). What has to do with the life of a thread is a call
// of the //export function go_x in thread.go, which calls the core. Such a call
// is short: a join waits in C. The rest is C as well. Locks, storage and idents
// cost a C caller nanoseconds. They work before Go starts, too, and in the child
// of a fork, where Go cannot be entered.
package capi

// #cgo CFLAGS: -std=gnu11 -fvisibility=hidden -I${SRCDIR}/../include
// #cgo !windows,!darwin LDFLAGS: -rdynamic
// #cgo windows CFLAGS: -DPYTHREAD_BUILD
// #cgo windows LDFLAGS: -static-libgcc -lsynchronization -Wl,-Bstatic -lwinpthread -Wl,-Bdynamic
import "C"

// For the header, which the C files here include: so it is there in vendor
// directories too, and a change of it is a change of this package.
import _ "github.com/seed-c0a0ef17/pythread/include"
