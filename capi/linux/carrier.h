/* carrier.h - the carriers: goroutines, and some pthreads, that run one thread after another. */
#ifndef CARRIER_H
#define CARRIER_H

#include <stdbool.h>

/* What a carrier runs: a thread, of which a carrier knows no more than this. */
struct carrier_work {
    /* Called once, on the carrier's OS thread, where all signals are blocked. It returns when the
       thread has ended, with all signals blocked again. In a child that the thread forked it does
       not return, since the carrier is not there. */
    void (*run)(struct carrier_work *work);
    /* carrier.c: the work that was queued after this one, while neither runs. */
    struct carrier_work *next;
};

/*
 * Has the work run on a carrier. False where none can: in the child of a fork, or where what one
 * needs is not to be had.
 */
bool carrier_start(struct carrier_work *work);

/* Go says so when its runtime runs, before it starts a carrier. */
void carrier_go_began(void);

/* A carrier's work: to run threads that are started until there is none. */
void carrier_run(void);

/* The OS thread of the calling carrier ends under a thread: the carrier is gone. */
void carrier_lost(void);

#endif
