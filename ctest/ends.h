/* ends.h - the ways in which a thread ends itself. For tests. */
#ifndef ENDS_H
#define ENDS_H

#include "pythread.h"

#include <pthread.h>

enum end { BY_RETURN, BY_EXIT_THREAD, BY_PTHREAD_EXIT, BY_CANCEL, ENDS };

/* Ends the calling thread. With BY_RETURN it does nothing, and the caller returns. */
static inline void end(enum end how)
{
    if (how == BY_EXIT_THREAD) {
        PyThread_exit_thread();
    } else if (how == BY_PTHREAD_EXIT) {
        pthread_exit(NULL);
    } else if (how == BY_CANCEL) {
        pthread_cancel(pthread_self());
        pthread_testcancel();
    }
}

#endif
