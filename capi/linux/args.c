/*
 * args.c - where the Go runtime looks for what the kernel told the program: the
 * size of a page, above all.
 *
 * It looks behind the end of the environment, as that is when the first thread
 * starts. A program may have shortened its environment by then, in place; then
 * there are pointers, which the runtime would take for numbers, and end the
 * process. Invariant: while the runtime starts it finds there the vector that it
 * looks for, or none, and then asks the system. Only a program that shortens it
 * in that very moment is not helped.
 */
#define _GNU_SOURCE
#include "args.h"

#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

/* The environment that the program was started with. */
static char **environment;

/* The place that ends a vector which is none, and what stands there for the program. */
static char **ended;
static char *at_end;

__attribute__((constructor)) static void at_load(int argc, char **argv)
{
    environment = argv + argc + 1;
}

void args_before_runtime(void)
{
    char **end = environment;
    while (*end++ != NULL) {
    }
    /* Even where it is none, it ends with the true one at the latest: that is followed by zeros. */
    const ElfW(auxv_t) *pair = (const void *)end;
    while (pair->a_type != AT_NULL && pair->a_type != AT_PAGESZ) {
        pair++;
    }
    if (pair->a_type == AT_NULL || pair->a_un.a_val != (uint64_t)sysconf(_SC_PAGESIZE)) {
        ended = end;
        at_end = *end;
        *end = NULL;
    }
}

void args_after_runtime(void)
{
    if (ended != NULL) {
        *ended = at_end;
    }
}
