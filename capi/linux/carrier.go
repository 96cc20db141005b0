package main

// #include "carrier.h"
// #include "reserve.h"
import "C"

import (
	"math"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"github.com/seed-c0a0ef17/pythread/pythread"
)

// carriers is reserve_carriers: C counts a carrier when it sends for it, Go takes
// it back when the OS thread under it can serve another.
var carriers = (*int64)(unsafe.Pointer(&C.reserve_carriers))

func init() {
	// The limit on threads is the system's alone; reserve.c keeps to it.
	debug.SetMaxThreads(math.MaxInt32)
	runtime.GOMAXPROCS(C.RESERVE_PROCESSORS)
	C.carrier_go_began()
	C.reserve_runtime_runs()
}

// carry runs started C threads until there is none.
func carry() {
	C.carrier_run()
	atomic.AddInt64(carriers, -1)
}

// pythread_go_carriers starts n goroutines that run C threads.
//
//export pythread_go_carriers
func pythread_go_carriers(n C.long) {
	for range n {
		pythread.Start(carry)
	}
}
