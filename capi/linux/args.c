/*
 * args.c - what the kernel told the program (the auxiliary vector: the size of a
 * page, above all), where the Go runtime looks for it.
 *
 * The runtime starts with the first thread, and looks for the vector behind the
 * end of the environment as it is then. A program may have shortened its
 * environment in place by then. So the runtime would find pointers there, take
 * them for numbers, and end the process. Invariant: while the runtime starts, it
 * finds at that place the auxiliary vector or an empty one; where the vector is
 * empty it asks the system. A program that shortens its environment in that very
 * moment is not helped.
 */
#define _GNU_SOURCE
#include "args.h"

#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

/* The environment that the program was started with. */
static char **environment;

/* The place that was made an empty vector, if any, and what the program has there. */
static char **patched;
static char *saved;

__attribute__((constructor)) static void at_load(int argc, char **argv)
{
    environment = argv + argc + 1;
}

void args_before_runtime(void)
{
    char **end = environment;
    while (*end++ != NULL) {
    }
    /* Even where this is not the vector, the loop ends: zeros follow the true one. */
    const ElfW(auxv_t) *pair = (const void *)end;
    while (pair->a_type != AT_NULL && pair->a_type != AT_PAGESZ) {
        pair++;
    }
    if (pair->a_type == AT_NULL || pair->a_un.a_val != (uint64_t)sysconf(_SC_PAGESIZE)) {
        patched = end;
        saved = *end;
        *end = NULL;
    }
}

void args_after_runtime(void)
{
    if (patched != NULL) {
        *patched = saved;
    }
}
