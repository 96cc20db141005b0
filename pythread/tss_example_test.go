package pythread_test

import (
	"fmt"

	"github.com/seed-c0a0ef17/pythread/pythread"
)

func ExampleTSS() {
	var name pythread.TSS[string]
	greet := func(self *pythread.Handle) string {
		if who, ok := name.Get(self); ok {
			return "hello " + who
		}
		return "hello stranger"
	}
	var first, second string
	a := pythread.StartWith(func(self *pythread.Handle) {
		name.Set(self, "Ada")
		first = greet(self)
	})
	b := pythread.StartWith(func(self *pythread.Handle) {
		second = greet(self)
	})
	a.Join()
	b.Join()
	fmt.Println(first)
	fmt.Println(second)
	_, ok := name.Get(a) // its value has gone with it
	fmt.Println(ok)
	// Output:
	// hello Ada
	// hello stranger
	// false
}

// A running thread keeps its values until they are deleted or cleared.
func ExampleTSS_Clear() {
	var buffer pythread.TSS[[]byte]
	thread := pythread.StartWith(func(self *pythread.Handle) {
		buffer.Set(self, make([]byte, 1<<20))
		buffer.Delete(self) // this thread's value
		_, ok := buffer.Get(self)
		fmt.Println(ok)
		buffer.Set(self, make([]byte, 1<<20))
		buffer.Clear() // the values of all threads
		_, ok = buffer.Get(self)
		fmt.Println(ok)
	})
	thread.Join()
	// Output:
	// false
	// false
}
