// Package octet has atomic operations on a byte, which Go lacks.
//
// They are operations on the aligned word of four bytes that contains the byte, and
// are correct whatever the three other bytes are: other such bytes, fields that are
// written without a lock, or memory of other code.
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
// A swap that fails only because of the other bytes is tried again. Each failure means
// that another thread has made progress, so not all fail for ever.
//
// The race detector takes an operation on a word for a race with what others write to
// the other bytes of Go's memory. It does not look at C memory.
package octet

import (
	"math/bits"
	"runtime"
	"sync/atomic"
	"unsafe"
)

// Lowest has, for the address of a byte modulo 4, the lowest bit of that byte in
// the word.
var Lowest = [4]uint32{1 << shift(0), 1 << shift(1), 1 << shift(2), 1 << shift(3)}

// shift returns how far the byte at an address is from the lowest bits of its word.
func shift(address uintptr) uintptr {
	switch runtime.GOARCH {
	case "mips", "mips64", "ppc64", "s390x": // the first byte of a word is its highest
		return (3 - address&3) * 8
	}
	return address & 3 * 8
}

// word returns the word that contains the byte, and the byte's lowest bit in it.
func word(b *uint8) (word *uint32, bit uint32) {
	return (*uint32)(unsafe.Pointer(uintptr(unsafe.Pointer(b)) &^ 3)), Lowest[uintptr(unsafe.Pointer(b))&3]
}

// Load returns the byte.
func Load(b *uint8) uint8 {
	word, bit := word(b)
	return uint8(atomic.LoadUint32(word) >> bits.TrailingZeros32(bit))
}

// CompareAndSwap makes the byte new if it is old, and reports whether it was.
func CompareAndSwap(b *uint8, old, new uint8) bool {
	word, bit := word(b)
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
