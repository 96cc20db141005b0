package pythread_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-c0a0ef17/pythread/pythread"
)

func ExampleLock() {
	var lock pythread.Lock
	n := 0
	threads := make([]*pythread.Handle, 10)
	for i := range threads {
		threads[i] = pythread.Start(func() {
			for range 100 {
				lock.Acquire()
				n++
				lock.Release()
			}
		})
	}
	for _, thread := range threads {
		thread.Join()
	}
	fmt.Println(n)
	// Output: 1000
}

// Any goroutine may release a lock, so that it can serve as a signal.
func ExampleLock_Release() {
	var ready pythread.Lock
	ready.Acquire()
	pythread.Start(func() {
		fmt.Println("getting ready")
		ready.Release()
	})
	ready.Acquire()
	fmt.Println("ready")
	// Output:
	// getting ready
	// ready
}

func ExampleLock_TryAcquire() {
	var lock pythread.Lock
	fmt.Println(lock.TryAcquire())
	fmt.Println(lock.TryAcquire())
	lock.Release()
	// Output:
	// true
	// false
}

func ExampleLock_AcquireTimed() {
	var lock pythread.Lock
	lock.Acquire()
	fmt.Println(lock.AcquireTimed(1500)) // waits for 1.5 ms
	fmt.Println(lock.AcquireTimed(0))    // does not wait
	lock.Release()
	fmt.Println(lock.AcquireTimed(1500))
	// Output:
	// failure
	// failure
	// acquired
}

func ExampleLock_AcquireContext() {
	var lock pythread.Lock
	lock.Acquire()
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	fmt.Println(lock.AcquireContext(ctx))
	lock.Release()
	fmt.Println(lock.AcquireContext(ctx)) // the lock comes first
	// Output:
	// interrupted
	// acquired
}

func ExampleLock_AcquireWithRetries() {
	var lock pythread.Lock
	lock.Acquire()
	stop := errors.New("told to stop")
	calls := 0
	status, err := lock.AcquireWithRetries(time.Millisecond, nil)
	fmt.Println(status, err)

	over := make(chan struct{})
	ticker := pythread.Start(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Millisecond):
				pythread.Interrupt()
			}
		}
	})
	status, err = lock.AcquireWithRetries(time.Hour, func() error {
		if calls++; calls == 1 {
			return nil // and wait on
		}
		return stop
	})
	fmt.Println(status, err)
	close(over)
	ticker.Join()
	// Output:
	// failure <nil>
	// interrupted told to stop
}

// A program that has news for a waiting thread interrupts its wait.
func ExampleInterrupt() {
	var lock pythread.Lock
	lock.Acquire()
	news := make(chan string, 1)
	thread := pythread.Start(func() {
		lock.AcquireWithRetries(-1, func() error {
			select {
			case text := <-news:
				fmt.Println(text)
				return context.Canceled // ends the wait
			default:
				return nil // Interrupt was meant for another.
			}
		})
	})
	news <- "stop waiting"
	for {
		pythread.Interrupt() // The thread may not be waiting yet.
		select {
		case <-thread.Done():
			return
		case <-time.After(time.Millisecond):
		}
	}
	// Output: stop waiting
}
