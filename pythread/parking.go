package pythread

import (
	"sync"
	"unsafe"
)

// The parking lot is where the goroutines sleep that wait for a Mutex, which has
// no room for a queue: in queues that are found by the address of the Mutex.
//
// A place is the queue of one address. It stands in the list of the address's
// bucket for as long as a waiter is in it or awake. Who waits brings a place
// along, so that nothing is allocated under the lock of a bucket. The waiter that
// is the first at its address opens its place there, and the waiter that is the
// last to leave takes the place along.
//
// Addresses tell places apart because an address cannot change or be used anew
// while there is a place for it: the place keeps the byte alive.

// place is the queue of the waiters for the byte at an address. Its bucket's mu
// guards it.
type place struct {
	at *Mutex
	queue
	next *place // in the bucket's list
}

// bucket has the places of the addresses that fall to it.
type bucket struct {
	mu     sync.Mutex
	places *place
	_      [64 - unsafe.Sizeof(sync.Mutex{}) - unsafe.Sizeof((*place)(nil))]byte // has a cache line
}

const lotBits = 10

var lot [1 << lotBits]bucket

// bucketOf returns the bucket of m's address.
func bucketOf(m *Mutex) *bucket {
	// Fibonacci hashing: the high bits of the product depend on all of the address.
	return &lot[uint64(uintptr(unsafe.Pointer(m)))*0x9E3779B97F4A7C15>>(64-lotBits)]
}

// find returns the place of m, or nil. The caller holds mu.
func (b *bucket) find(m *Mutex) *place {
	p := b.places
	for p != nil && p.at != m {
		p = p.next
	}
	return p
}

// open returns the place of m, which is w's if there was none. The caller holds mu.
func (b *bucket) open(m *Mutex, w *waiter) *place {
	p := b.find(m)
	if p == nil {
		p, w.spare = w.spare, nil
		p.at, p.next = m, b.places
		b.places = p
	}
	return p
}

// close gives the place to w if no waiter needs it any more. The caller holds mu.
func (b *bucket) close(p *place, w *waiter) {
	if p.awake || p.first != nil {
		return
	}
	link := &b.places
	for *link != p {
		link = &(*link).next
	}
	*link = p.next
	p.at, p.next = nil, nil
	w.spare = p
}
