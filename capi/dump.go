package capi

// #include "show/dump.h"
// #include "thread/go.h"
import "C"

// In a Go program the Go runtime starts after the constructor of dump.c, and has
// replaced its handler. So this sets it again.
func init() {
	if C.go_is_programs_own() {
		C.dump_on_signal()
	}
}
