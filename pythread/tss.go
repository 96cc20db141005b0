package pythread

import "sync"

// TSS is a key for thread-specific storage: it holds a value of type T for each
// thread, and a thread never sees the value of another.
//
// The zero TSS is ready to use and must not be copied once used. A method acts
// on the thread of the [Handle] that it gets, on any goroutine; a thread gets its
// own handle from [StartWith]. All methods panic with a nil handle.
// They are safe for concurrent use, and wait for each other for a few
// instructions at most.
//
// A value lasts until it is overwritten or deleted, until [TSS.Clear], or
// until its thread ends: from the instant that [Handle.Done] is closed and
// [Handle.Join] returns, no key has a value for the thread. Soon afterwards the
// garbage collector can free the values. No function is called then. A running
// thread keeps the keys alive that have a value for it: a program that no longer
// needs a key before the thread ends should clear the key.
//
// It stands for CPython's Py_tss_t (3.7). PyThread_tss_create,
// PyThread_tss_is_created, PyThread_tss_alloc and PyThread_tss_free have no
// counterpart, because a zero TSS is a created key. The number of keys has no
// limit.
type TSS[T any] struct {
	values sync.Map // of *Handle to T

	// The record of a thread lists the keys that hold a value for the thread, so
	// that erase finds them. That list and values change together, under the
	// record's mu. Get reads only values, and does not need mu.
}

// eraser is a *TSS[T] for any T.
type eraser interface{ erase(h *Handle) }

// Set makes v the thread's value. It does nothing for a thread that has ended,
// because nothing would remove that value.
//
// It mirrors PyThread_tss_set (3.7), but cannot fail.
func (t *TSS[T]) Set(h *Handle, v T) {
	if h.ended() {
		return // an ended thread needs no record
	}
	r := h.needRecord()
	r.mu.Lock()
	defer r.mu.Unlock()
	// After erase no value is stored, because no call would remove it. First case:
	// erase found no record, or held mu before us. Then the step came before erase,
	// and erase before us, so we find that the thread has ended. (The step, erase's
	// load of the record and our store of it are atomic operations, which every
	// goroutine sees in one order.) Second case: erase gets mu after us, and finds
	// the value.
	if h.ended() {
		return
	}
	if r.keys == nil {
		r.keys = map[eraser]struct{}{}
	}
	r.keys[t] = struct{}{}
	t.values.Store(h, v)
}

// Get returns the thread's value and true, or the zero T and false if there is no
// value.
//
// It mirrors PyThread_tss_get (3.7), which cannot tell NULL from no value.
func (t *TSS[T]) Get(h *Handle) (T, bool) {
	v, ok := t.values.Load(h)
	// If the thread has not ended now, it had not ended at the Load, so v is
	// its value. If it has ended, it has no value, even before erase removes v.
	if !ok || h.ended() {
		var none T
		return none, false
	}
	return v.(T), true
}

// Delete removes the thread's value, if it has one.
//
// It mirrors PyThread_tss_set with NULL (3.7) and PyThread_delete_key_value
// (deprecated since 3.7).
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

// Clear removes the key's values for all threads. The key can be used again
// afterwards. A value that is set while Clear runs may be removed or may stay.
//
// It mirrors PyThread_tss_delete followed by PyThread_tss_create (3.7).
func (t *TSS[T]) Clear() {
	t.values.Range(func(h, _ any) bool {
		t.Delete(h.(*Handle))
		return true
	})
}

func (t *TSS[T]) erase(h *Handle) { t.values.Delete(h) }
