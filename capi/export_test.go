package capi

// Guests returns how many threads are in Do or have values in C's storage.
func Guests() int {
	n := 0
	guests.Range(func(_, _ any) bool { n++; return true })
	return n
}

// Listed returns how many entries the table of threads that C knows has.
func Listed() int {
	n := 0
	threads.each(func(*thread) { n++ })
	return n
}
