//go:build !race

package pythread

import (
	"sync/atomic"
	"unsafe"

	"github.com/seed-c0a0ef17/pythread/internal/octet"
)

// Lock waits, for ever if need be, until it has the lock.
//
// It mirrors PyMutex_Lock (3.13).
func (m *Mutex) Lock() {
	// The compiler inlines this into the caller. It would not inline a longer function,
	// or one with names for the parts. If another byte of the word is not 0, lockSlow
	// does the work. Package octet says why operations on the whole word are correct.
	if atomic.LoadUint32((*uint32)(unsafe.Pointer(uintptr(unsafe.Pointer(m))&^3))) != 0 ||
		!atomic.CompareAndSwapUint32((*uint32)(unsafe.Pointer(uintptr(unsafe.Pointer(m))&^3)), 0, octet.Lowest[uintptr(unsafe.Pointer(m))&3]) {
		m.lockSlow()
	}
}

// Unlock frees the lock, whichever goroutine locked it. If the lock is free already,
// Unlock panics, and the lock stays free. Unlock does not block.
//
// It mirrors PyMutex_Unlock (3.13), which ends the process instead of a panic.
func (m *Mutex) Unlock() {
	// As in Lock, but without the load, which would cost more here than it saves.
	if !atomic.CompareAndSwapUint32((*uint32)(unsafe.Pointer(uintptr(unsafe.Pointer(m))&^3)), octet.Lowest[uintptr(unsafe.Pointer(m))&3], 0) {
		m.unlockSlow()
	}
}

// load returns the byte.
func (m *Mutex) load() uint8 { return octet.Load(&m.bits) }

// swap makes the byte new if it is old, and reports whether it was.
func (m *Mutex) swap(old, new uint8) bool { return octet.CompareAndSwap(&m.bits, old, new) }
