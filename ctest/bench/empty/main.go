// Command empty is a Go shared library that does nothing but what each start
// and join of a goroutine by C code must do: the least that one can cost.
package main

import "C"

var ended = make(chan struct{})

//export empty_start
func empty_start() {
	go func() { ended <- struct{}{} }()
}

//export empty_join
func empty_join() { <-ended }

func main() {}
