// Package capi is CPython's thread API, the PyThread_* functions of
// include/pythread.h, for C code in the same process. It exports the Go package
// pythread to C by //export functions.
//
// A Go program that imports capi offers these functions to the C code that it
// links or loads. capi/libpythread makes a shared library of them, for C programs.
// C code and Go code see the same threads, idents and locks:
//
//   - [FromHandle] and [FromIdent] return the [pythread.Handle] of a thread that
//     C started, and [ToHandle] gives C the right to join a thread that
//     Go started.
//   - [Do] runs calls into C as a given thread.
//   - [Lock] is a lock of C code, as a Go value, and [Mutex] is a PyMutex.
//
// # When to use it
//
// Use this package in a Go program that runs C code written against CPython's
// thread layer: an extension module, an interpreter, a plugin. Go code that needs
// only threads and locks uses package pythread, or the go statement and package
// sync. Those need no cgo. A wait for a [pythread.Lock], a [sync.Mutex] or a [Mutex]
// keeps a goroutine; a wait for a [Lock] keeps an OS thread.
//
// # C code in a Go program
//
// The program only has to import this package, and may do so without using it:
//
//	import _ "github.com/seed-c0a0ef17/pythread/capi"
//
// A plugin that the program loads with dlopen is linked to no library: it finds
// the functions in the program. The command go list prints the directory of the
// headers. C compilers need it as -I, and cgo needs it in the
// environment variable CGO_CPPFLAGS, for C code in Go files:
//
//	include=$(go list -f '{{.Dir}}' github.com/seed-c0a0ef17/pythread/include)
//	cc -shared -fPIC -I"$include" -o plugin.so plugin.c
//	CGO_CPPFLAGS=-I"$include" go build
//
// For C code, a goroutine that calls it is not a thread, even if [pythread.Start]
// started it. PyThread_get_thread_ident returns the pthread_self() of the OS thread
// on which the call happens, and values in thread-specific storage remain there.
// Such a call must not end in PyThread_exit_thread or pthread_exit, which would end
// the OS thread. In [Do] the caller is a thread. In a thread that C code started, the
// caller is that thread, even below Go functions.
//
// # Signals and forks
//
// In a Go program a C thread runs on one of Go's OS threads, and Go's rules for
// signals hold:
//
//   - A handler that C code installs needs SA_ONSTACK. A handler without it may
//     crash the process if it runs while its thread is in Go.
//   - The handler of a signal for the process may run on any OS thread.
//   - Go's OS threads unblock SIGCHLD, SIGPROF, SIGURG, signal 34, the signals of
//     faults, and some more. C code cannot keep these for sigwait or signalfd.
//   - Go sends SIGURG to its OS threads, which also runs a handler of C code.
//
// If the system refuses memory or an OS thread to Go, Go ends the process.
// The child of a fork has the functions of pythread.h, runs threads as plain
// pthreads, and must not enter Go.
//
// The library for C programs, capi/libpythread, has none of these rules for
// signals.
//
// # How it is made
//
// The C function PyThread_x is in the C file of its concept (thread.c, lock.c,
// tss.c, python.c). For the life of a thread it calls the //export function go_x
// in thread.go, which calls the core. Such a call is short: a join waits in C.
// Locks, storage and idents are C without Go. So they take nanoseconds, and work
// before Go starts and in the child of a fork, which must not enter Go.
package capi

// #cgo CFLAGS: -std=gnu11 -fvisibility=hidden -I${SRCDIR}/internal -I${SRCDIR}/../include
// #cgo !windows,!darwin LDFLAGS: -rdynamic
// #cgo windows CFLAGS: -DPYTHREAD_BUILD
// #cgo windows LDFLAGS: -static-libgcc -lsynchronization -Wl,-Bstatic -lwinpthread -Wl,-Bdynamic
import "C"

// The C files here include the header of this package. The import puts the header
// into vendor directories, and makes a change of it a change of this package.
import _ "github.com/seed-c0a0ef17/pythread/include"

// Their C code is part of this package: the folders are for readers.
import (
	_ "github.com/seed-c0a0ef17/pythread/capi/internal/show"
	_ "github.com/seed-c0a0ef17/pythread/capi/internal/sync"
	_ "github.com/seed-c0a0ef17/pythread/capi/internal/system"
	_ "github.com/seed-c0a0ef17/pythread/capi/internal/thread"
)
