package capi

// #include "thread.h"
import "C"

import "runtime"

//export go_get_stats
func go_get_stats(stats *C.pythread_stats) {
	osThreads, _ := runtime.ThreadCreateProfile(nil)
	stats.threads = C.size_t(running.Load())
	stats.handles = C.size_t(handles.Load())
	stats.os_threads = C.size_t(osThreads)
	stats.goroutines = C.size_t(running.Load())
}
