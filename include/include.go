// Package include holds pythread.h, which C code includes. That it is a Go
// package has the go command take the header along where it copies or caches
// packages.
package include

import _ "embed"

// Header is the text of pythread.h.
//
//go:embed pythread.h
var Header string
