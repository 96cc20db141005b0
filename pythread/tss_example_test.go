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
		return "hello whoever you are"
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
	// hello whoever you are
	// false
}
