/* args.h - where the Go runtime looks for what the kernel told the program. */
#ifndef ARGS_H
#define ARGS_H

/* Before and after the runtime starts. */
void args_before_runtime(void);
void args_after_runtime(void);

#endif
