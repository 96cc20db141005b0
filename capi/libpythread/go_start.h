/* go_start.h - delays the start of the Go runtime in a C program, and gives Go its settings. */
#ifndef GO_START_H
#define GO_START_H

#include <stdbool.h>

/* Clears Go's table of signals. Called before Go's constructor, with the program's arguments. */
void go_start_leaves_signals(char **arguments);

/* GOMAXPROCS at first. It suffices until twice as many threads run at once. */
enum { GO_FIRST_PROCESSORS = 4 };

/* Makes Go wait for the first thread. Called before Go's constructor, with the function that makes
   an OS thread for Go. */
void go_start_waits(bool (*create)(void *(*func)(void *), void *arg));

/* Keeps the request of Go's constructor for its first OS thread. False for Go's later requests. */
bool go_start_takes(void *(*func)(void *), void *arg);

/* True if Go's constructor starts nothing and leaves the program's signals alone. */
#ifdef __linux__
bool go_start_changes_nothing(void);
#else
static inline bool go_start_changes_nothing(void)
{
    return false;
}
#endif

#endif
