package pythread_test

import (
	"fmt"

	"github.com/seed-c0a0ef17/pythread/pythread"
)

func ExampleGetInfo() {
	info := pythread.GetInfo()
	fmt.Println(info.Name, info.Lock)
	// Output: goroutine semaphore
}
