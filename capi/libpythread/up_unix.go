//go:build unix

package main

// #include "../gate.h"
// #include "go_threads.h"
import "C"

import (
	"time"

	_ "github.com/seed-c0a0ef17/pythread/capi/internal/nofile"
)

// up lets threads start: those that were about to have waited (gate.c).
func up() {
	C.go_is_up()
	go func() {
		// By then the first thread runs, which this would hold up. A second start
		// that comes earlier does it.
		time.Sleep(2 * time.Millisecond)
		C.go_threads_fill()
	}()
}
