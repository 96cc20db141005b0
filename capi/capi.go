// Package capi is CPython's thread API, the PyThread_* functions of
// include/pythread.h, for C code in the same process: the Go package pythread
// re-exported through //export functions.
//
// A Go program that imports capi offers these functions to the C code that it
// links or loads; capi/libpythread makes a shared library of them for programs
// in C. C code and Go code see the same threads, idents and locks:
//
//   - [FromHandle] and [FromIdent] give the [pythread.Handle] of a thread that
//     C started, and [ToHandle] gives C the right to join a thread of Go's.
//   - [Do] runs calls into C as a given thread.
//   - [Lock] is a lock of C's as a Go value.
//
// Of a name PyThread_x, the C function stands in x's file here (thread.c,
// lock.c, tss.c, python.c). What has to do with the life of a thread is a call
// of the //export function go_x in thread.go, which calls the core; the rest is
// C: locks, storage and "who am I" cost a C caller nanoseconds, and all of them
// must work in the child of a fork, where Go cannot be entered.
package capi

// #cgo CFLAGS: -std=gnu11 -fvisibility=hidden -I${SRCDIR}/../include
// #cgo linux LDFLAGS: -rdynamic
// #cgo windows CFLAGS: -DPYTHREAD_BUILD
// #cgo windows LDFLAGS: -static-libgcc -lsynchronization -Wl,-Bstatic -lwinpthread -Wl,-Bdynamic
import "C"
