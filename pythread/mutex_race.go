//go:build race

package pythread

import (
	"runtime"
	"sync"
	"unsafe"
)

// The race detector would report an atomic operation on a word as a race with writes
// to its other bytes. So with the race detector, load and swap access the byte alone,
// in functions that the detector does not watch. A lock makes a swap one step. swap
// tells the detector of each lock and unlock.

var writers [256]sync.Mutex

// Lock waits, for ever if need be, until it has the lock.
func (m *Mutex) Lock() { m.lockSlow() }

// Unlock frees the lock.
func (m *Mutex) Unlock() { m.unlockSlow() }

// load returns the byte.
//
//go:norace
func (m *Mutex) load() uint8 { return m.bits }

// swap makes the byte new if it is old, and reports whether it was.
func (m *Mutex) swap(old, new uint8) bool {
	at := unsafe.Pointer(m)
	writer := &writers[uintptr(at)/8%uintptr(len(writers))]
	// The detector must not see writer: it would order all users of that lock.
	runtime.RaceDisable()
	writer.Lock()
	runtime.RaceEnable()
	done := m.replace(old, new)
	switch {
	case done && new&^old&locked != 0:
		runtime.RaceAcquire(at)
	case done && old&^new&locked != 0:
		runtime.RaceRelease(at)
	}
	runtime.RaceDisable()
	writer.Unlock()
	runtime.RaceEnable()
	return done
}

//go:norace
func (m *Mutex) replace(old, new uint8) bool {
	if m.bits != old {
		return false
	}
	m.bits = new
	return true
}
