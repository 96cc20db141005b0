// Command handed measures how long it takes to hand a lock from thread to thread
// in a Go program that hosts C code. `handed Go` uses a Go thread and a C thread,
// and `handed C` uses two C threads. It reads and prints lines as bench.c does:
// hand_over is for a lock, and hand_over_mutex for a PyMutex.
package main

/*
#cgo CFLAGS: -I${SRCDIR}/../../../include
#include "pylock.h"
#include "pythread.h"
#include <stdbool.h>
#include <stdlib.h>

struct exchange {
    void *there, *back;
    bool is_mutex;
    long n;
};

static void acquire(const struct exchange *exchange, void *lock)
{
    if (exchange->is_mutex) {
        PyMutex_Lock(lock);
    } else {
        PyThread_acquire_lock(lock, WAIT_LOCK);
    }
}

static void release(const struct exchange *exchange, void *lock)
{
    if (exchange->is_mutex) {
        PyMutex_Unlock(lock);
    } else {
        PyThread_release_lock(lock);
    }
}

static void hand_over(void *arg)
{
    const struct exchange *exchange = arg;
    for (long i = 0; i < exchange->n; i++) {
        release(exchange, exchange->there);
        acquire(exchange, exchange->back);
    }
}

static void hand_back(void *arg)
{
    const struct exchange *exchange = arg;
    for (long i = 0; i < exchange->n; i++) {
        acquire(exchange, exchange->there);
        release(exchange, exchange->back);
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
	"unsafe"

	"github.com/seed-c0a0ef17/pythread/capi"
	"github.com/seed-c0a0ef17/pythread/pythread"
)

// held is a lock that is held. Go code hands it over by its functions.
type held struct {
	acquire, release func()
	pointer          unsafe.Pointer
}

func newLock() held {
	l := capi.NewLock()
	l.Acquire()
	return held{l.Acquire, l.Release, l.Pointer()}
}

func newMutex() held {
	m := capi.WrapMutex(C.calloc(1, 1))
	m.Lock()
	return held{m.Lock, m.Unlock, m.Pointer()}
}

func main() {
	locks := map[string][2]held{
		"hand_over":       {newLock(), newLock()},
		"hand_over_mutex": {newMutex(), newMutex()},
	}
	for {
		var work string
		var n int
		if read, _ := fmt.Scan(&work, &n); read != 2 {
			return
		}
		fmt.Println(handOver(locks[work], work == "hand_over_mutex", n))
	}
}

// handOver returns how many nanoseconds each of 2n hand-overs takes.
func handOver(locks [2]held, areMutexes bool, n int) float64 {
	there, back := locks[0], locks[1]
	exchange := &C.struct_exchange{there.pointer, back.pointer, C.bool(areMutexes), C.long(n)}
	var pinner runtime.Pinner
	pinner.Pin(exchange)
	defer pinner.Unpin()

	startOther := func() *pythread.Handle { return handle(C.start_hand_over(exchange)) }
	if os.Args[1] == "Go" {
		startOther = func() *pythread.Handle {
			return pythread.Start(func() {
				for range n {
					there.release()
					back.acquire()
				}
			})
		}
	}
	began := time.Now()
	answers, other := handle(C.start_hand_back(exchange)), startOther()
	other.Join()
	answers.Join()
	return float64(time.Since(began)) / float64(2*n)
}

// handle returns the thread that C has started.
func handle(started C.PyThread_handle_t) *pythread.Handle {
	h, ok := capi.FromHandle(uintptr(started))
	if !ok {
		panic("a thread did not start")
	}
	return h
}
