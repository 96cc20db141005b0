package pythread

import (
	"sync"
	"unsafe"
)

// A Mutex has no space for a queue. So the queues are in the parking lot, which finds
// the queue of a Mutex by the address of the Mutex.
//
// A place is the queue for one address. The address selects a bucket, and the place is
// in the bucket's list while a waiter is in the queue or awake. A waiter brings a place
// along, so that no memory is allocated under the lock of a bucket. The first waiter at
// an address adds its place to the list. The last waiter takes the place with it.
//
// An address identifies its Mutex. For a place keeps its Mutex alive, so no other Mutex
// gets the address while there is a place for it.

// place is the queue of the waiters for the Mutex at an address. The mu of its bucket
// guards it.
type place struct {
	at *Mutex
	queue
	next *place // in the bucket's list
}

// bucket has the places for all addresses with the same hash.
type bucket struct {
	mu     sync.Mutex
	places *place
	_      [64 - unsafe.Sizeof(sync.Mutex{}) - unsafe.Sizeof((*place)(nil))]byte // fills a cache line
}

const lotBits = 10

var lot [1 << lotBits]bucket

// bucketOf returns the bucket of m's address.
func bucketOf(m *Mutex) *bucket {
	// Fibonacci hashing: the high bits of the product depend on all bits of the address.
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

// open returns the place of m. If there is none, it adds the place that w has brought.
// The caller holds mu.
func (b *bucket) open(m *Mutex, w *waiter) *place {
	p := b.find(m)
	if p == nil {
		p, w.spare = w.spare, nil
		p.at, p.next = m, b.places
		b.places = p
	}
	return p
}

// close removes p from the list and gives it to w, if no waiter needs p any more. The
// caller holds mu.
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
