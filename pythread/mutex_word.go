//go:build !race

package pythread

import (
	"math/bits"
	"runtime"
	"sync/atomic"
	"unsafe"
)

// Go has no atomic operation on a byte, so these are operations on the aligned
// word of four bytes that contains it. They are right whatever the three other
// bytes are: other mutexes, fields that are written without any lock, or memory
// that belongs to somebody else.
//
//   - The word does not leave the memory that the byte is in. It does not leave the
//     page, nor the slot of Go's heap, since slots begin and end at multiples of 8.
//   - A compare-and-swap that succeeds writes the other bytes as they are at that
//     instant, so it undoes no write to them, of whatever size, atomic or not. If
//     one comes after the load of the word, the swap finds another word than it was
//     told, and fails. In hardware, the swap has the cache line for itself from its
//     read to its write (amd64, arm64 with LSE), or fails if another processor
//     writes to the line in between (load-linked and store-conditional).
//   - It writes no other value to them either, so a reader of them sees no change.
//
// A swap that fails for the other bytes alone is tried again. Each time somebody
// else has got on, so not all fail for ever.

// lowest has, for the address of a byte modulo 4, the lowest bit of that byte in
// the word.
var lowest = [4]uint32{1 << shift(0), 1 << shift(1), 1 << shift(2), 1 << shift(3)}

// shift returns how far the byte at an address is from the lowest bits of its word.
func shift(address uintptr) uintptr {
	switch runtime.GOARCH {
	case "mips", "mips64", "ppc64", "s390x": // the first byte of a word is its highest
		return (3 - address&3) * 8
	}
	return address & 3 * 8
}

// Lock waits, for ever if need be, until it has the lock.
//
// It mirrors PyMutex_Lock (3.13).
func (m *Mutex) Lock() {
	// This much, for a word that is 0 but for the lock, the compiler inlines into the
	// caller; there is no room for more, nor for names.
	if atomic.LoadUint32((*uint32)(unsafe.Pointer(uintptr(unsafe.Pointer(m))&^3))) != 0 ||
		!atomic.CompareAndSwapUint32((*uint32)(unsafe.Pointer(uintptr(unsafe.Pointer(m))&^3)), 0, lowest[uintptr(unsafe.Pointer(m))&3]) {
		m.lockSlow()
	}
}

// Unlock frees the lock, whichever goroutine locked it. If the lock is free
// already, Unlock panics and leaves it free. Unlock does not block.
//
// It mirrors PyMutex_Unlock (3.13), which ends the process instead of a panic.
func (m *Mutex) Unlock() {
	// As in Lock. To look at the word first would take longer than to swap it.
	if !atomic.CompareAndSwapUint32((*uint32)(unsafe.Pointer(uintptr(unsafe.Pointer(m))&^3)), lowest[uintptr(unsafe.Pointer(m))&3], 0) {
		m.unlockSlow()
	}
}

// word returns the word that contains the byte, and the byte's lowest bit in it.
func (m *Mutex) word() (word *uint32, bit uint32) {
	return (*uint32)(unsafe.Pointer(uintptr(unsafe.Pointer(m)) &^ 3)), lowest[uintptr(unsafe.Pointer(m))&3]
}

// load returns the byte.
func (m *Mutex) load() uint8 {
	word, bit := m.word()
	return uint8(atomic.LoadUint32(word) >> bits.TrailingZeros32(bit))
}

// swap makes the byte new if it is old, and reports whether it was.
func (m *Mutex) swap(old, new uint8) bool {
	word, bit := m.word()
	for {
		w := atomic.LoadUint32(word)
		if w&(bit*255) != bit*uint32(old) {
			return false
		}
		if atomic.CompareAndSwapUint32(word, w, w^bit*uint32(old^new)) {
			return true
		}
	}
}
