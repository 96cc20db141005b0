/* go_start.h - when the Go runtime starts in a C program, and what it is told then. */
#ifndef GO_START_H
#define GO_START_H

#include <stdbool.h>

/* Clears Go's table of signals. Called before Go's constructor, with the program's arguments. */
void go_start_leaves_signals(char **arguments);

/* GOMAXPROCS at first. It suffices until twice as many threads run at once. */
enum { GO_FIRST_PROCESSORS = 4 };

/* Lets Go wait for the first thread. Called before Go's constructor, with the function that makes
   an OS thread for Go. */
void go_start_waits(bool (*create)(void *(*func)(void *), void *arg));

/* Takes over the start of Go's first OS thread, which Go's constructor asks for. False later, when
   Go asks for other OS threads. */
bool go_start_takes(void *(*func)(void *), void *arg);

/* True where Go's constructor starts nothing and leaves the program's signals alone. */
#ifdef __linux__
bool go_start_changes_nothing(void);
#else
static inline bool go_start_changes_nothing(void)
{
    return false;
}
#endif

#endif
