//go:build race

package capi

import (
	"sync/atomic"
	"unsafe"
)

// The race detector does not look at C memory, and would take for a race what a
// Lock keeps apart. So it gets to see, of each lock, an acquire and a release of
// a word in Go's memory. Locks that share a word seem to order more than they
// do: races may be missed then, and none is reported that is not there.
var shadows [1024]atomic.Uint32

func (l Lock) shadow() *atomic.Uint32 {
	return &shadows[uintptr(unsafe.Pointer(l.word))/64%uintptr(len(shadows))]
}

func (l Lock) acquired() { l.shadow().Load() }
func (l Lock) released() { l.shadow().Add(1) }
