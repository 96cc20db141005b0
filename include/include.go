// Package include holds pythread.h and pylock.h, which C code includes. As it is
// a Go package, the go command takes the headers along where it copies or caches
// packages.
package include

import _ "embed"

// Header is the text of pythread.h.
//
//go:embed pythread.h
var Header string

// Pylock is the text of pylock.h.
//
//go:embed pylock.h
var Pylock string
