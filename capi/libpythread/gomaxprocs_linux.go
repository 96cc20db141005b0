package main

import "C"

import "runtime"

//export go_use_processors
func go_use_processors(count C.int) { runtime.GOMAXPROCS(int(count)) }
