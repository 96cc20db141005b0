/* func.h - the type of what a thread runs. */
#ifndef FUNC_H
#define FUNC_H

typedef void (*thread_func)(void *);

#endif
