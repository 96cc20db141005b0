/* carrier.h - the goroutines that run threads. */
#ifndef CARRIER_H
#define CARRIER_H

#include "thread.h"

/* Carriers that were asked of Go and are not back in Go code with their last thread behind them. */
extern atomic_long carrier_count;

/* Has the thread run on a carrier. False when what one needs is not to be had. */
bool carrier_start(struct thread *thread);

/* A goroutine's work: to run threads that are started until there is none. */
void carrier_run(void);

/* The OS thread of the calling carrier ends under a thread: the carrier is gone. */
void carrier_lost(void);

#endif
