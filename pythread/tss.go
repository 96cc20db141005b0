package pythread

import "sync"

// TSS is a key for thread-specific storage: it holds one value of type T for
// each thread, apart from what it holds for every other.
//
// The zero TSS is ready to use and must not be copied once used. A method
// means the thread whose [Handle] it is given, whichever goroutine calls it; a
// thread gets its own handle from [StartWith]. A nil handle panics. All
// methods are safe for concurrent use and wait for no more than each other's
// few instructions.
//
// A value lasts until it is overwritten or deleted, until [TSS.Clear], or
// until its thread ends: from the instant that [Handle.Done] is closed, and
// [Handle.Join] returns, no key holds a value for the thread. The memory of
// those values is free for collection soon afterwards. Nothing is called when
// a value goes. A running thread keeps alive the keys that it has values for:
// clear a key that is to go before they do.
//
// It stands for CPython's Py_tss_t (3.7). PyThread_tss_create and
// PyThread_tss_is_created have no counterpart, as a zero TSS has always been
// created, nor have PyThread_tss_alloc and PyThread_tss_free. There is no
// limit to the number of keys, and creating one cannot fail.
type TSS[T any] struct {
	values sync.Map // of *Handle to T

	// What is to be erased when a thread ends is written down with the thread,
	// in record.keys. Both maps change together, under the thread's record.mu;
	// only Get, which reads one of them, does without it.
}

// eraser is a *TSS[T] of any T.
type eraser interface{ erase(h *Handle) }

// Set makes v the thread's value. For a thread that has ended it does
// nothing: the value would never go away.
//
// It mirrors PyThread_tss_set (3.7), but cannot fail.
func (t *TSS[T]) Set(h *Handle, v T) {
	if h.ended() {
		return // without a record that nobody needs
	}
	r := h.record.Load()
	if r == nil {
		// Of several first Sets one installs its record, and the others must
		// use that one, or the one that finish has left: hence the second Load.
		h.record.CompareAndSwap(nil, new(record))
		r = h.record.Load()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// No value is stored after erase, which would leak it. Either erase is
	// still to come and will find the value, or finish has been here before,
	// with mu or by leaving unremarkable, and then ended is true.
	if h.ended() {
		return
	}
	if r.keys == nil {
		r.keys = map[eraser]struct{}{}
	}
	r.keys[t] = struct{}{}
	t.values.Store(h, v)
}

// Get returns the thread's value and true, or the zero T and false if it has
// none.
//
// It mirrors PyThread_tss_get (3.7), which cannot tell NULL from no value.
func (t *TSS[T]) Get(h *Handle) (T, bool) {
	v, ok := t.values.Load(h)
	// A thread that runs now ran at the Load too. One that has ended has no
	// value, even where erase has not come to it yet.
	if !ok || h.ended() {
		var none T
		return none, false
	}
	return v.(T), true
}

// Delete takes the thread's value away, if it has one.
//
// It mirrors PyThread_tss_set with NULL and PyThread_delete_key_value.
func (t *TSS[T]) Delete(h *Handle) {
	r := h.record.Load()
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.keys, t)
	t.erase(h)
}

// Clear takes away the values that the key holds, whichever thread they
// belong to; the key can be used on. A Set at the same time may or may not
// be cleared.
//
// It mirrors PyThread_tss_delete followed by PyThread_tss_create (3.7).
func (t *TSS[T]) Clear() {
	t.values.Range(func(h, _ any) bool {
		t.Delete(h.(*Handle))
		return true
	})
}

func (t *TSS[T]) erase(h *Handle) { t.values.Delete(h) }
