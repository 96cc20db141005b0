// Package thread has the C code by which a thread runs on an OS thread and ends: on
// one of Go's (trampoline.c), on a pthread of its own (own_os_thread.c), or in the
// child of a fork, which has no Go runtime (forked.c).
package thread

// #cgo CFLAGS: -std=gnu11 -fvisibility=hidden -I${SRCDIR}/.. -I${SRCDIR}/../../../include
// #cgo windows CFLAGS: -DPYTHREAD_BUILD
import "C"

// The C files include the public headers: see package include.
import _ "github.com/seed-c0a0ef17/pythread/include"
