//go:build unix

// Command host is a Go program that loads a plugin written in C. The plugin uses
// CPython's thread functions, without any knowledge of Go. It finds them in this
// program, which imports capi. README.md says how to run it.
package main

/*
#cgo CFLAGS: -I${SRCDIR}/../../include -I${SRCDIR}/plugin
#cgo linux LDFLAGS: -ldl
#include "plugin.h"

#include <dlfcn.h>
#include <stdlib.h>

static const struct plugin *load(const char *path)
{
    void *object = dlopen(path, RTLD_NOW);
    return object == NULL ? NULL : dlsym(object, "plugin");
}

// Go cannot call a pointer to a C function.
static void count(const struct plugin *p, struct counter *c, int times) { p->count(c, times); }
static int start_counting(const struct plugin *p, struct counter *c, PyThread_handle_t *thread)
{
    return p->start_counting(c, thread);
}
static int join(const struct plugin *p, PyThread_handle_t thread) { return p->join(thread); }
static void set_name(const struct plugin *p, const char *name) { p->set_name(name); }
static const char *name(const struct plugin *p) { return p->name(); }
*/
import "C"

import (
	"fmt"
	"log"
	"os"
	"time"
	"unsafe"

	"github.com/seed-c0a0ef17/pythread/capi"
	"github.com/seed-c0a0ef17/pythread/pythread"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: host PLUGIN.so")
	}
	path := C.CString(os.Args[1])
	plugin := C.load(path)
	if plugin == nil {
		log.Fatal(C.GoString(C.dlerror()))
	}
	C.free(unsafe.Pointer(path))

	// The counter is in C memory, because C threads keep pointers to it.
	counter := (*C.struct_counter)(C.calloc(1, C.sizeof_struct_counter))
	lock := capi.NewLock()
	counter.lock = C.PyThread_type_lock(lock.Pointer())
	defer C.free(unsafe.Pointer(counter))
	defer lock.Free()

	cJoinsWhatGoStarted(plugin)
	goWaitsForWhatCStarted(plugin, counter)
	bothCountUnderOneLock(plugin, counter, lock)
	aValueFollowsItsThread(plugin)
}

func cJoinsWhatGoStarted(plugin *C.struct_plugin) {
	sum := 0
	thread := pythread.Start(func() {
		for i := range 101 {
			sum += i
		}
	})
	handle, err := capi.ToHandle(thread)
	if err != nil {
		log.Fatal(err)
	}
	if errno := C.join(plugin, C.PyThread_handle_t(handle)); errno != 0 {
		log.Fatalf("C could not join: errno %d", errno)
	}
	fmt.Printf("C joined a Go thread, which had computed the sum %d.\n", sum)
}

func goWaitsForWhatCStarted(plugin *C.struct_plugin, counter *C.struct_counter) {
	var handle C.PyThread_handle_t
	if C.start_counting(plugin, counter, &handle) == 0 {
		log.Fatal("C could not start a thread")
	}
	thread, ok := capi.FromHandle(uintptr(handle))
	if !ok {
		log.Fatal("Go does not know the thread")
	}
	select {
	case <-thread.Done():
		fmt.Printf("Go saw the end of a C thread, which had counted to %d.\n", counter.value)
	case <-time.After(time.Minute):
		log.Fatal("the C thread has not ended in a minute")
	}
	// C still has to join the thread that it started.
	C.join(plugin, handle)
}

func bothCountUnderOneLock(plugin *C.struct_plugin, counter *C.struct_counter, lock capi.Lock) {
	counter.value = 0
	var threads []*pythread.Handle
	for range 4 {
		threads = append(threads,
			pythread.Start(func() { C.count(plugin, counter, 10_000) }),
			pythread.Start(func() {
				for range 10_000 {
					lock.Acquire()
					counter.value++
					lock.Release()
				}
			}))
	}
	for _, thread := range threads {
		thread.Join()
	}
	if counter.value != 80_000 {
		log.Fatalf("the count is %d, not 80000", counter.value)
	}
	fmt.Printf("4 threads in C and 4 in Go counted to %d under one lock.\n", counter.value)
}

func aValueFollowsItsThread(plugin *C.struct_plugin) {
	stop := make(chan struct{})
	named := pythread.Start(func() { <-stop })
	other := pythread.Start(func() { <-stop })
	name := C.CString("Ada")
	defer C.free(unsafe.Pointer(name))

	capi.Do(named, func() { C.set_name(plugin, name) })
	// Goroutines on any OS thread ask as each of the two threads.
	ask := func(thread *pythread.Handle) (answer string) {
		capi.Do(thread, func() { answer = C.GoString(C.name(plugin)) })
		return answer
	}
	for range 10 {
		asker := pythread.Start(func() {
			if got := ask(named); got != "Ada" {
				log.Fatalf("C has %q for Ada", got)
			}
			if got := ask(other); got != "" {
				log.Fatalf("C has %q for a thread without a name", got)
			}
		})
		asker.Join()
	}
	fmt.Println("In C, a thread has kept its name on every OS thread.")
	close(stop)
	named.Join()
	other.Join()
}
