package pythread_test

import (
	"fmt"

	"github.com/seed-c0a0ef17/pythread/pythread"
)

func ExampleStart() {
	squares := make([]int, 5)
	threads := make([]*pythread.Handle, len(squares))
	for i := range squares {
		threads[i] = pythread.Start(func() { squares[i] = i * i })
	}
	for _, thread := range threads {
		thread.Join()
	}
	fmt.Println(squares)
	// Output: [0 1 4 9 16]
}

func ExampleStartWith() {
	var own pythread.Ident
	thread := pythread.StartWith(func(self *pythread.Handle) {
		own = self.Ident()
	})
	thread.Join()
	fmt.Println(own == thread.Ident())
	// Output: true
}

func ExampleHandle_Join() {
	thread := pythread.Start(func() {
		panic("out of cheese")
	})
	if value := thread.Join(); value != nil {
		fmt.Println("thread panicked:", value)
	}
	// Output: thread panicked: out of cheese
}

func ExampleHandle_Done() {
	stop := make(chan struct{})
	thread := pythread.Start(func() { <-stop })
	select {
	case <-thread.Done():
		fmt.Println("ended")
	default:
		fmt.Println("running")
	}
	close(stop)
	<-thread.Done()
	fmt.Println("ended")
	// Output:
	// running
	// ended
}
