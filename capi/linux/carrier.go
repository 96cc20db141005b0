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

	_ "github.com/seed-c0a0ef17/pythread/capi/internal/nofile"
	"github.com/seed-c0a0ef17/pythread/pythread"
)

// carriers is C's reserve_carriers. C counts a carrier up when it launches it;
// a goroutine counts itself down when the OS thread under it is back in Go,
// where it can serve another goroutine.
var carriers = (*int64)(unsafe.Pointer(&C.reserve_carriers))

func init() {
	// Go's own limit on OS threads ends the process; reserve.c keeps to the
	// system's, and refuses the start of a thread.
	debug.SetMaxThreads(math.MaxInt32)
	runtime.GOMAXPROCS(C.RESERVE_PROCESSORS)
	C.carrier_go_began()
	C.reserve_go_began()
}

// carry makes the goroutine a carrier, until there is no thread to run.
func carry() {
	C.carrier_run()
	atomic.AddInt64(carriers, -1)
}

// pythread_go_carriers starts n goroutines that are carriers. It does not hand
// them threads: they find those in the queue of carrier.c. Most starts of a
// thread launch no carrier, and so do not come here.
//
//export pythread_go_carriers
func pythread_go_carriers(n C.long) {
	for range n {
		pythread.Start(carry)
	}
}
