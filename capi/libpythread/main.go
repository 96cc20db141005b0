// Command libpythread is the library for programs in C: the package capi, built
// with -buildmode=c-shared or -buildmode=c-archive.
package main

// #cgo CFLAGS: -std=gnu11 -fvisibility=hidden -I${SRCDIR}/../internal -I${SRCDIR}/../../include
// #cgo linux LDFLAGS: -Wl,--wrap=pthread_create
import "C"

import (
	"math"
	"runtime"
	"runtime/debug"

	_ "github.com/seed-c0a0ef17/pythread/capi"
)

func init() {
	// The limit on OS threads is the system's alone.
	debug.SetMaxThreads(math.MaxInt32)
	// A thread that blocks in C keeps its processor of Go's until the
	// runtime's monitor takes it away, tens of microseconds later: with a few
	// to spare, the next thread starts at once.
	runtime.GOMAXPROCS(firstProcessors(max(32, runtime.NumCPU())))
	// Go never ends its first OS thread, so no thread may run there: one that
	// leaves its OS thread unusable takes it along.
	runtime.LockOSThread()
	up()
}

func main() {}
