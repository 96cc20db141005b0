//go:build unix

package main

// #include "../gate.h"
// #include "go_threads.h"
import "C"

import (
	"sync"

	_ "github.com/seed-c0a0ef17/pythread/capi/internal/nofile"
)

// The last init function: a thread that starts before waits for it (gate.c).
// On Windows none does.
func init() {
	var workers sync.WaitGroup
	for range C.GO_WORKERS {
		workers.Add(1)
		go func() {
			defer workers.Done()
			C.go_threads_meet()
		}()
	}
	workers.Wait()
	C.go_is_up()
}
