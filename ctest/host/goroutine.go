//go:build unix

package main

import "C"

import (
	"bytes"
	"runtime"

	"github.com/seed-c0a0ef17/pythread/capi"
	"github.com/seed-c0a0ef17/pythread/pythread"
)

// host_running_handle returns the ident of the running thread with this ident, from
// its *pythread.Handle. It returns 0 if the caller is not on a goroutine that runs a
// thread of the core. A test calls it from inside a thread.
//
//export host_running_handle
func host_running_handle(ident uint64) uint64 {
	stack := make([]byte, 64<<10)
	stack = stack[:runtime.Stack(stack, false)]
	h, ok := capi.FromIdent(pythread.Ident(ident))
	if !ok || !bytes.Contains(stack, []byte("github.com/seed-c0a0ef17/pythread/pythread.(*Prepared).Run(")) {
		return 0
	}
	select {
	case <-h.Done():
		return 0
	default:
		return uint64(h.Ident())
	}
}
