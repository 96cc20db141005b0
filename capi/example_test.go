package capi_test

import (
	"fmt"

	"github.com/seed-c0a0ef17/pythread/capi"
	// Takes the place of C code that the program links, or loads with dlopen.
	plugin "github.com/seed-c0a0ef17/pythread/capi/internal/capitest"
	"github.com/seed-c0a0ef17/pythread/pythread"
)

// C starts a thread, and Go waits for it.
func ExampleFromHandle() {
	_, handle := plugin.Start(func() { fmt.Println("hello from a C thread") })
	if thread, ok := capi.FromHandle(handle); ok {
		<-thread.Done() // or thread.Join()
		fmt.Println("it has ended")
	}
	// C started it, and C still joins it.
	plugin.Join(handle)
	_, ok := capi.FromHandle(handle)
	fmt.Println(ok)
	// Output:
	// hello from a C thread
	// it has ended
	// false
}

// C code that calls a Go function passes the ident of its thread.
func ExampleFromIdent() {
	var names pythread.TSS[string]
	callback := func(ident pythread.Ident) {
		if thread, ok := capi.FromIdent(ident); ok {
			name, _ := names.Get(thread)
			fmt.Println("called by", name)
		}
	}
	thread := pythread.StartWith(func(self *pythread.Handle) {
		names.Set(self, "worker")
		capi.Do(self, func() { callback(plugin.Ident()) })
	})
	thread.Join()
	// Output: called by worker
}

// Go starts a thread, and C joins it.
func ExampleToHandle() {
	sum := 0
	thread := pythread.Start(func() { sum = 40 + 2 })
	handle, err := capi.ToHandle(thread)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(plugin.Join(handle) == 0, sum)
	fmt.Println(plugin.Join(handle)) // EINVAL, because the handle was joined
	// Output:
	// true 42
	// invalid argument
}

func ExampleToHandle_noThread() {
	_, err := capi.ToHandle(nil)
	fmt.Println(err == capi.ErrNoThread)
	// Output: true
}

// C code finds the values of a thread in every call of that thread.
func ExampleDo() {
	key := plugin.NewKey() // PyThread_tss_create
	defer key.Free()
	thread := pythread.StartWith(func(self *pythread.Handle) {
		capi.Do(self, func() {
			fmt.Println(plugin.Ident() == self.Ident())
			key.Set(7) // PyThread_tss_set
		})
		capi.Do(self, func() { fmt.Println(key.Get()) })
	})
	thread.Join()
	other := pythread.StartWith(func(self *pythread.Handle) {
		capi.Do(self, func() { fmt.Println(key.Get()) })
	})
	other.Join()
	// Output:
	// true
	// 7
	// 0
}

// One lock guards a number from Go and from C.
func ExampleLock() {
	lock := capi.NewLock()
	defer lock.Free()
	count := new(int64)
	inC := pythread.Start(func() { plugin.Count(lock.Pointer(), count, 1000) })
	for range 1000 {
		lock.Acquire()
		*count++
		lock.Release()
	}
	inC.Join()
	fmt.Println(*count)
	// Output: 2000
}

// C has made the lock, and holds it.
func ExampleWrapLock() {
	c := plugin.AllocateLock()
	plugin.Acquire(c, true)
	lock := capi.WrapLock(c)
	fmt.Println(lock.TryAcquire())
	lock.Release() // any thread may release it
	fmt.Println(lock.TryAcquire())
	lock.Free()
	// Output:
	// false
	// true
}

func ExampleLock_AcquireTimed() {
	lock := capi.NewLock()
	defer lock.Free()
	fmt.Println(lock.AcquireTimed(1000)) // microseconds
	fmt.Println(lock.AcquireTimed(1000))
	// Output:
	// acquired
	// failure
}
