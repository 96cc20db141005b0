package main

// up does nothing: on Windows no start of a thread waits for Go.
func up() {}
