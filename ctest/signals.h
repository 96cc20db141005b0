/*
 * signals.h - what tests do with signals: set handlers, block, and read sets of signals from /proc.
 */
#ifndef SIGNALS_H
#define SIGNALS_H

#include "test.h"

#include <pthread.h>
#include <signal.h>

static inline void set_handler(int sig, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    EQ(sigemptyset(&action.sa_mask), 0);
    EQ(sigaction(sig, &action, NULL), 0);
}

static inline void block_only(int sig)
{
    sigset_t set;
    sigemptyset(&set);
    if (sig != 0) {
        sigaddset(&set, sig);
    }
    EQ(pthread_sigmask(SIG_SETMASK, &set, NULL), 0);
}

/* Returns a field of a status file of /proc that is a set of signals: bit 0 is signal 1. Returns
   all signals if the thread has ended since. */
static inline unsigned long long status_set(const char *file, const char *field)
{
    char line[256];
    unsigned long long set = ~0ULL;
    FILE *status = fopen(file, "r");
    if (status == NULL) {
        return set;
    }
    while (fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, field, strlen(field)) == 0) {
            set = strtoull(line + strlen(field), NULL, 16);
        }
    }
    fclose(status);
    return set;
}

/* A flag of the kernel that the C library shows. */
#ifndef SA_RESTORER
#define SA_RESTORER 0x04000000
#endif

#define SET_OF(sig) (1ULL << ((sig)-1))
/* The two signals that the C library keeps to itself. */
#define INTERNAL (SET_OF(32) | SET_OF(33))
#define ALL_SIGNALS (~(INTERNAL | SET_OF(SIGKILL) | SET_OF(SIGSTOP)))

#endif
