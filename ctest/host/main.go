//go:build unix

// Command host runs a case of a test program of ../ in a Go program: the test
// is a shared object that knows nothing of Go, and finds the functions of
// pythread.h in this program, since it imports capi.
//
//	host <concept>_test.so CASE
package main

/*
#cgo linux LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

// Calls main of the object, with the arguments from the object's name on, and ends the process as
// the C library does behind a main.
static void run(int argc, char **argv)
{
    void *object = dlopen(argv[0], RTLD_NOW);
    int (*object_main)(int, char **) = NULL;
    if (object != NULL) {
        *(void **)&object_main = dlsym(object, "main");
    }
    if (object_main == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(2);
    }
    exit(object_main(argc, argv));
}
*/
import "C"

import (
	"os"
	"runtime"
	"unsafe"

	_ "github.com/seed-c0a0ef17/pythread/capi"
)

// The test's main runs on the process's main thread, as in a program of C's.
func init() { runtime.LockOSThread() }

func main() {
	// All in C memory, since the test keeps what it gets.
	args := os.Args[1:]
	size := C.size_t(unsafe.Sizeof((*C.char)(nil)))
	argv := (**C.char)(C.calloc(C.size_t(len(args)+1), size))
	for i, arg := range args {
		unsafe.Slice(argv, len(args))[i] = C.CString(arg)
	}
	C.run(C.int(len(args)), argv)
}
