//go:build unix

// Package nofile keeps the limit on open files as a program in C has it. Package
// syscall raises the soft limit when it is initialized, because Go does not use
// select. But C may, and the programs that it executes inherit the limit.
//
// Of the packages whose imports are initialized Go initializes the one with the
// first path. Hence this one comes next after syscall, and the limit is another
// for microseconds.
package nofile

// #cgo CFLAGS: -std=gnu11 -fvisibility=hidden
// #include "nofile.h"
import "C"

import _ "syscall"

func init() { C.nofile_restore() }
