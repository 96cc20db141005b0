package pythread

import (
	"runtime"
	"testing"
)

func TestInfoIsTrueOfGoroutines(t *testing.T) {
	want := Info{Name: "goroutine", Lock: "semaphore", Version: runtime.Version()}
	if got := GetInfo(); got != want {
		t.Errorf("GetInfo() = %+v, want %+v", got, want)
	}
}
