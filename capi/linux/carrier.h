/*
 * carrier.h - carriers: goroutines, and some pthreads, that run one thread after another.
 *
 * thread.c starts threads here; the other functions are for carrier.go.
 */
#ifndef CARRIER_H
#define CARRIER_H

#include <stdbool.h>

/* A thread as its carrier sees it: the head of the thread's record. */
struct carrier_work {
    /*
     * Is the thread. The carrier calls it once, with all signals blocked, and it returns with all
     * signals blocked. It does not return in the child of a fork, where the carrier does not exist.
     */
    void (*run)(struct carrier_work *work);
    /* The queue is linked by this; the carrier does not touch the work once it runs. */
    struct carrier_work *next;
};

/*
 * Queues the work for a carrier. False where no carrier can run it: in the child of a fork, and
 * where the system refuses an OS thread or memory. Then nothing has begun.
 */
bool carrier_start(struct carrier_work *work);

/* The Go runtime calls this when it runs, before it starts a carrier. */
void carrier_go_began(void);

/* Makes the calling OS thread a carrier: runs threads until none is left for it. */
void carrier_run(void);

#endif
