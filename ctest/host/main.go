//go:build unix

// Command host runs a case of a C test program of ../ in a Go program. The test is
// a shared object in plain C. It finds the functions of pythread.h in this program,
// which imports capi.
//
//	host <concept>_test.so CASE
package main

/*
#cgo linux LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

// Calls main of the object, with the arguments from the object's name on, and exits with its result,
// as the C library does.
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

// The test's main runs on the process's main thread, as in a C program.
func init() { runtime.LockOSThread() }

func main() {
	// All arguments are in C memory, because the test keeps pointers to them.
	args := os.Args[1:]
	size := C.size_t(unsafe.Sizeof((*C.char)(nil)))
	argv := (**C.char)(C.calloc(C.size_t(len(args)+1), size))
	for i, arg := range args {
		unsafe.Slice(argv, len(args))[i] = C.CString(arg)
	}
	C.run(C.int(len(args)), argv)
}
