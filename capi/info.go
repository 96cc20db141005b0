package capi

// #include "pythread.h"
import "C"

import "runtime"

//export go_get_stats
func go_get_stats(stats *C.pythread_stats) {
	osThreads, _ := runtime.ThreadCreateProfile(nil)
	stats.os_threads = C.size_t(osThreads)
	threads.each(func(t *thread) {
		if t.isStarted() && !t.ended.Load() {
			stats.threads++
		}
		if !t.isSpent() {
			stats.handles++
		}
	})
	stats.goroutines = stats.threads
}
