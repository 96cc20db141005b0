package pythread_test

import (
	"errors"
	"fmt"

	"github.com/seed-c0a0ef17/pythread/pythread"
)

func ExampleParseTimeout() {
	seconds := 1.5
	fmt.Println(pythread.ParseTimeout(&seconds, true))
	fmt.Println(pythread.ParseTimeout(&seconds, false))
	fmt.Println(pythread.ParseTimeout(nil, true)) // negative: for ever
	fmt.Println(pythread.ParseTimeout(nil, false))
	seconds = 1e10
	fmt.Println(pythread.ParseTimeout(&seconds, true))
	// Output:
	// 1.5s <nil>
	// 0s pythread: timeout given to a non-blocking call
	// -1s <nil>
	// 0s <nil>
	// 0s pythread: timeout is too large
}

// In CPython one of the reasons is an OverflowError, the others a ValueError.
func ExampleTimeoutError() {
	seconds := 1e10
	_, err := pythread.ParseTimeout(&seconds, true)
	if errors.Is(err, pythread.TimeoutTooLarge) {
		fmt.Println("OverflowError:", err)
	}
	// Output: OverflowError: pythread: timeout is too large
}
