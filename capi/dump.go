package capi

// #include "dump.h"
// #include "thread.h"
import "C"

// In a Go program the Go runtime, which starts after the constructor of dump.c,
// has put handlers of its own in the place of others.
func init() {
	if C.go_is_programs_own() {
		C.dump_on_signal()
	}
}
