package capi

// Guests returns how many threads are in Do or have values in thread-specific storage.
func Guests() int {
	n := 0
	guests.Range(func(_, _ any) bool { n++; return true })
	return n
}

// Listed returns the number of entries in the table of threads that C knows.
func Listed() int {
	n := 0
	threads.each(func(*thread) { n++ })
	return n
}
