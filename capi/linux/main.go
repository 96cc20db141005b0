// Command linux is libpythread.so with the Linux engine: CPython's thread API
// for C programs, built with -buildmode=c-shared. A build chooses it with
// -DPYTHREAD_ENGINE=linux.
//
// The C files here are the functions of include/pythread.h, and all that a
// thread is: its start, its ident, its handle, its join and its end. Go has
// goroutines for the threads to run on, and nothing else. A start puts its
// thread into a queue (carrier.c), and a carrier takes it from there. A carrier
// is a goroutine; while the Go runtime is not up, and above 256 carriers, it is
// a pthread. It runs one thread after another, so C enters Go only where
// carriers are too few: such a call costs tens of nanoseconds, waits for a
// processor of Go's scheduler where threads are many, and hangs in the child of
// a fork.
//
// Each file includes and calls only files of the floors below its own:
//
//	6 python                   what needs CPython's objects
//	5 thread                   a thread's life, and the API
//	4 handle                   the table of threads, and what a handle leads to
//	3 carrier (.c, .go)        the queue, and the carriers
//	2 reserve                  the OS threads under carriers, the start of Go
//	1 fork, signals, lock, tss which process this is; the host's signals; locks; storage
//	0 os, args, memory, name   the system; what Go reads; what Go asks the system for; names
//
// What lies above is handed down: thread gives carrier a function in the head
// of its record (struct carrier_work), carrier registers its work with reserve
// (reserve_serve), and what the child of a fork resets with fork
// (fork_on_child); its reset calls reserve's, and that one calls memory's.
//
// Lock order: reserve's mutex, then carrier's. Memory's is taken while no other
// is held. No mutex is held across a call into Go or into a thread's function.
//
// The words: a carrier is coming from its launch, or the end of its thread,
// until it takes a thread. It is parked while it sleeps in C. A spare is an OS
// thread that waits in the reserve. The epoch tells processes apart that come
// from each other by fork. A slot is a place in the table of threads, and a
// handle is spent when it was joined or detached.
package main

// #cgo CFLAGS: -std=gnu11 -I${SRCDIR}/.. -I${SRCDIR}/../../include
// #cgo LDFLAGS: -Wl,--wrap=pthread_create -Wl,--wrap=pthread_getattr_np
// #cgo LDFLAGS: -Wl,--wrap=mmap -Wl,--wrap=munmap -Wl,--wrap=malloc -Wl,--wrap=free
import "C"

func main() {}
