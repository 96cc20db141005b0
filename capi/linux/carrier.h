/* carrier.h - the carriers: goroutines, and some pthreads, that run one thread after another. */
#ifndef CARRIER_H
#define CARRIER_H

#include "thread.h"

/* Carriers that were sent for and are not back, with their last thread behind them. */
extern atomic_long carrier_count;

/* How many OS threads can be needed by the carriers that there are and those yet to be sent for. */
long carrier_need(void);

/*
 * Has the thread run on a carrier. False where none can: in the child of a fork, or where what one
 * needs is not to be had.
 */
bool carrier_start(struct thread *thread);

/* Go says so when its runtime runs, before it starts a carrier. */
void carrier_go_began(void);

/* A carrier's work: to run threads that are started until there is none. */
void carrier_run(void);

/* The OS thread of the calling carrier ends under a thread: the carrier is gone. */
void carrier_lost(void);

#endif
