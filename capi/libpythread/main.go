// Command libpythread is the library for C programs: the package capi, built with
// -buildmode=c-shared or -buildmode=c-archive.
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
	// Only the system limits the number of OS threads.
	debug.SetMaxThreads(math.MaxInt32)
	// A thread that blocks in C keeps its Go processor until the runtime's monitor
	// takes it back, tens of microseconds later. With more Go processors, the next
	// thread starts at once.
	runtime.GOMAXPROCS(firstProcessors(max(32, runtime.NumCPU())))
	// Go never ends its first OS thread. But a thread that leaves something on its
	// OS thread must end it. So no thread may run on the first one.
	runtime.LockOSThread()
	up()
}

func main() {}
