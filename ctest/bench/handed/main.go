// Command handed measures how long it takes to hand a lock from thread to thread
// in a Go program that hosts C code. `handed Go` uses a Go thread and a C thread,
// and `handed C` uses two C threads. It reads and prints lines as bench.c does.
package main

/*
#cgo CFLAGS: -I${SRCDIR}/../../../include
#include "pythread.h"

struct exchange {
    PyThread_type_lock there, back;
    long n;
};

static void hand_over(void *arg)
{
    const struct exchange *exchange = arg;
    for (long i = 0; i < exchange->n; i++) {
        PyThread_release_lock(exchange->there);
        PyThread_acquire_lock(exchange->back, WAIT_LOCK);
    }
}

static void hand_back(void *arg)
{
    const struct exchange *exchange = arg;
    for (long i = 0; i < exchange->n; i++) {
        PyThread_acquire_lock(exchange->there, WAIT_LOCK);
        PyThread_release_lock(exchange->back);
    }
}

static PyThread_handle_t start(void (*func)(void *), struct exchange *exchange)
{
    PyThread_ident_t ident;
    PyThread_handle_t handle = 0;
    return PyThread_start_joinable_thread(func, exchange, &ident, &handle) == 0 ? handle : 0;
}

static PyThread_handle_t start_hand_over(struct exchange *exchange) { return start(hand_over, exchange); }
static PyThread_handle_t start_hand_back(struct exchange *exchange) { return start(hand_back, exchange); }
*/
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/seed-c0a0ef17/pythread/capi"
	"github.com/seed-c0a0ef17/pythread/pythread"
)

func main() {
	there, back := capi.NewLock(), capi.NewLock()
	there.Acquire()
	back.Acquire()
	exchange := &C.struct_exchange{C.PyThread_type_lock(there.Pointer()), C.PyThread_type_lock(back.Pointer()), 0}
	var pinner runtime.Pinner
	pinner.Pin(exchange)

	startOther := func() *pythread.Handle { return handle(C.start_hand_over(exchange)) }
	if os.Args[1] == "Go" {
		startOther = func() *pythread.Handle {
			return pythread.Start(func() {
				for range exchange.n {
					there.Release()
					back.Acquire()
				}
			})
		}
	}
	var work string
	for {
		if n, _ := fmt.Scan(&work, &exchange.n); n != 2 {
			return
		}
		began := time.Now()
		answers, other := handle(C.start_hand_back(exchange)), startOther()
		other.Join()
		answers.Join()
		fmt.Println(float64(time.Since(began)) / float64(2*exchange.n))
	}
}

// handle returns the thread that C has started.
func handle(started C.PyThread_handle_t) *pythread.Handle {
	h, ok := capi.FromHandle(uintptr(started))
	if !ok {
		panic("a thread did not start")
	}
	return h
}
