// Command capi is libpythread.so: CPython's thread API for C programs, built
// with -buildmode=c-shared on the Go package pythread.
//
// The functions of include/pythread.h stand in the C files here. A C thread
// crosses into Go once, to start a thread: a call from C to Go costs tens of
// nanoseconds where all of CPython's PyThread_tss_get costs two, waits for a
// processor of the Go scheduler where there are more threads than those, and
// hangs in the child of a fork. So what a thread does for itself (who am I,
// storage, locks, waiting for another to end) is C, and what needs the
// scheduler (a goroutine to run on, an ident, the end of the goroutine) is Go.
package main

// #cgo CFLAGS: -std=gnu11 -I${SRCDIR}/.. -I${SRCDIR}/../../include
// #cgo LDFLAGS: -Wl,--wrap=pthread_create -Wl,--wrap=pthread_getattr_np
// #cgo LDFLAGS: -Wl,--wrap=mmap -Wl,--wrap=munmap -Wl,--wrap=malloc -Wl,--wrap=free
import "C"

func main() {}
