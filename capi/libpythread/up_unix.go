//go:build unix

package main

// #include "thread/go.h"
import "C"

import _ "github.com/seed-c0a0ef17/pythread/capi/internal/nofile"

// up lets threads start. Earlier starts wait for this (go.c).
func up() { C.go_is_up() }
