// Package show has the C code that shows what threads do: dumps and traces.
package show

// #cgo CFLAGS: -std=gnu11 -fvisibility=hidden -I${SRCDIR}/.. -I${SRCDIR}/../../../include
// #cgo windows CFLAGS: -DPYTHREAD_BUILD
import "C"

// The C files include the public headers: see package include.
import _ "github.com/seed-c0a0ef17/pythread/include"
