// Command empty is a Go shared library that does only what each start and join of
// a goroutine by C code must do. So it shows the least that these can cost.
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
