package main

// #include "go_threads.h"
import "C"

// firstProcessors returns how many processors Go has until threads need more, if it
// may have `most`. Go can want an OS thread for each, which has to be there.
func firstProcessors(most int) int { return int(C.go_threads_first_processors(C.int(most))) }
