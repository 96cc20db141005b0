# host_test.sh - Go programs with C code, made as a user would make them.
. "$(dirname "$0")/test.sh"

# block NUMBER FILE: prints a block of code.
block() {
    awk -v number="$1" '/^```/ { if (inside) { inside = 0 } else { inside = 1; n++; next } }
                        inside && n == number' "$2"
}

test_the_example_prints_what_its_readme_says() {
    mkdir examples
    cp -r "$source_dir/examples/host" examples/
    cp -r "$source_dir/capi" "$source_dir/include" "$source_dir/internal" "$source_dir/pythread" \
        "$source_dir/go.mod" .
    cd examples/host
    PATH=$(dirname "$(command -v "$go")"):$PATH
    block 1 README.md >commands
    same "the number of commands" "$(wc -l <commands)" 2
    same output "$(sh -e commands)" "$(block 2 README.md)"
}

# own_module: makes a module with a program and a plugin in the current directory.
own_module() {
    cat >go.mod <<END
module example.com/own

go 1.24

require github.com/seed-c0a0ef17/pythread v0.0.0

replace github.com/seed-c0a0ef17/pythread => $source_dir
END
    cat >main.go <<'END'
package main

// #cgo linux LDFLAGS: -ldl
// #include <dlfcn.h>
// #include <pythread.h>
// static PyThread_handle_t start(void)
// {
//     PyThread_handle_t (*start)(void) = dlsym(dlopen("./plugin.so", RTLD_NOW), "start");
//     return start();
// }
import "C"

import (
	"fmt"

	"github.com/seed-c0a0ef17/pythread/capi"
)

func main() {
	thread, ok := capi.FromHandle(uintptr(C.start()))
	fmt.Println(ok, thread.Join())
}
END
    mkdir plugin
    cat >plugin/plugin.c <<'END'
#include <pythread.h>

static void run(void *arg)
{
    (void)arg;
}

PyThread_handle_t start(void)
{
    PyThread_ident_t ident;
    PyThread_handle_t handle = 0;
    return PyThread_start_joinable_thread(run, NULL, &ident, &handle) == 0 ? handle : 0;
}
END
}

# run_own_module: runs it by the commands in the documentation of the package capi.
run_own_module() {
    include=$("$go" list -f '{{.Dir}}' github.com/seed-c0a0ef17/pythread/include)
    "$CC" -shared -fPIC -I"$include" -o plugin.so plugin/plugin.c
    same output "$(CGO_CPPFLAGS=-I"$include" "$go" run .)" "true <nil>"
}

test_a_module_of_ones_own_hosts_a_plugin() {
    own_module
    run_own_module
    case $include in "$source_dir"/*) ;; *) fail "the header is in $include" ;; esac
}

test_a_vendor_directory_has_all_it_takes() {
    own_module
    "$go" mod vendor
    run_own_module
    case $include in "$PWD"/vendor/*) ;; *) fail "the header is in $include" ;; esac
}

main "$@"
