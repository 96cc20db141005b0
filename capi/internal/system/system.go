// Package system has the C code that asks the operating system.
package system

// #cgo CFLAGS: -std=gnu11 -fvisibility=hidden -I${SRCDIR}/.. -I${SRCDIR}/../../../include
// #cgo windows CFLAGS: -DPYTHREAD_BUILD
import "C"

// The C files include the public headers: see package include.
import _ "github.com/seed-c0a0ef17/pythread/include"
