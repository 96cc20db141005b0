//go:build unix

// Package nofile keeps a C program's limit on open files. Package syscall raises
// the soft limit when it is initialized, because Go does not use select. But C
// code may use it, and programs that it executes inherit the limit.
//
// Among packages whose imports are initialized, Go initializes the one with the
// first path. So this package comes directly after syscall, and the limit is
// changed only for microseconds.
package nofile

// #cgo CFLAGS: -std=gnu11 -fvisibility=hidden
// #include "nofile.h"
import "C"

import _ "syscall"

func init() { C.nofile_restore() }
