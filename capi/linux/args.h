/*
 * args.h - what the kernel told the program, where the Go runtime looks for it.
 *
 * reserve.c calls this around the start of the runtime.
 */
#ifndef ARGS_H
#define ARGS_H

/* Readies the place where the runtime will look. */
void args_before_runtime(void);

/* Gives that place back to the program, once the runtime has started. */
void args_after_runtime(void);

#endif
