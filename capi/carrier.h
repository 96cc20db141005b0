/* carrier.h - the carriers: goroutines, and some pthreads, that run one thread after another. */
#ifndef CARRIER_H
#define CARRIER_H

#include "thread.h"

/* Carriers that were sent for and are not back, with their last thread behind them. */
extern atomic_long carrier_count;

/*
 * Has the thread run on a carrier. False where none can: in the child of a fork, or where what one
 * needs is not to be had.
 */
bool carrier_start(struct thread *thread);

/* A carrier's work: to run threads that are started until there is none. */
void carrier_run(void);

/* The OS thread of the calling carrier ends under a thread: the carrier is gone. */
void carrier_lost(void);

#endif
