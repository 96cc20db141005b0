package capi

import (
	"sync"

	"github.com/seed-c0a0ef17/pythread/pythread"
)

// table finds the threads that C knows, by their idents, which are also their C
// handles. Threads that start and end at the same time seldom use the same shard,
// because their idents are neighbours, and neighbours are in different shards.
type table [64]struct {
	mu      sync.Mutex
	threads map[pythread.Ident]*thread
	_       [48]byte // so that each shard has a cache line
}

// add adds t.
func (ts *table) add(ident pythread.Ident, t *thread) {
	s := &ts[ident%pythread.Ident(len(ts))]
	s.mu.Lock()
	if s.threads == nil {
		s.threads = map[pythread.Ident]*thread{}
	}
	s.threads[ident] = t
	s.mu.Unlock()
}

// get returns the thread with this ident, or nil if there is none.
func (ts *table) get(ident pythread.Ident) *thread {
	s := &ts[ident%pythread.Ident(len(ts))]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.threads[ident]
}

// remove removes the thread with this ident.
func (ts *table) remove(ident pythread.Ident) {
	s := &ts[ident%pythread.Ident(len(ts))]
	s.mu.Lock()
	delete(s.threads, ident)
	s.mu.Unlock()
}

// each calls f for every thread.
func (ts *table) each(f func(*thread)) {
	for i := range ts {
		s := &ts[i]
		s.mu.Lock()
		for _, t := range s.threads {
			f(t)
		}
		s.mu.Unlock()
	}
}
