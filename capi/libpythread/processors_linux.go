package main

// #include "go_threads.h"
import "C"

// firstProcessors returns how many of so many processors Go has until threads
// need more: for each it can want an OS thread, which has to be there.
func firstProcessors(most int) int { return int(C.go_threads_first_processors(C.int(most))) }
