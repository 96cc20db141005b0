//go:build race

package capi

import (
	"sync/atomic"
	"unsafe"
)

// The race detector does not see C memory, and would report a race where a Lock
// keeps two goroutines apart. So each acquire and release of a lock also acquires
// and releases a word in Go memory. Locks that share a word seem to order more
// than they do. Then the detector may miss a race, but never reports a wrong one.
var shadows [1024]atomic.Uint32

func (l Lock) shadow() *atomic.Uint32 {
	return &shadows[uintptr(unsafe.Pointer(l.word))/64%uintptr(len(shadows))]
}

func (l Lock) acquired() { l.shadow().Load() }
func (l Lock) released() { l.shadow().Add(1) }
