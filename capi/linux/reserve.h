/* reserve.h - the OS threads under carriers, and the Go runtime on them. */
#ifndef RESERVE_H
#define RESERVE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/*
 * The runtime's GOMAXPROCS. A carrier in a thread keeps its processor until the runtime's monitor
 * takes it back, some tens of microseconds later, one processor at a time: with as many as the
 * machine has, threads that all block come to run that much later, one after the other. More than
 * this gained nothing; and idle ones cost nothing, since a carrier that lingers is there first.
 */
enum { RESERVE_PROCESSORS = 16 };

/* OS threads that exist for carriers: the Go runtime's, those that it has not taken, and others. */
extern atomic_long reserve_os_threads;

/*
 * Carriers, from the moment one is sent for until the OS thread under it can be taken again:
 * counted up by who sends for one, and down here or, for a goroutine, by carrier.go.
 */
extern atomic_long reserve_carriers;

/* The carriers, which stand above the reserve and name themselves to it. */
struct reserve_client {
    /*
     * How many OS threads the carriers can want: those that there are and those yet to be sent for.
     * Takes the carriers' mutex, and may be called with the reserve's: so the reserve's comes first
     * in the lock order, and the carriers, with theirs, call nothing here that takes one.
     */
    long (*threads_wanted)(void);
    /* A carrier's whole work, on the calling OS thread. */
    void (*work)(void);
};

/* Names them, in a constructor, before there are other threads. */
void reserve_serve(struct reserve_client client);

/* Whether there are OS threads, and memory, for so many carriers. Takes no mutex. */
bool reserve_suffices(long carriers);

/*
 * Sees to it that there are for those that are wanted (threads_wanted), and has the Go runtime
 * start where there is room for that. False when an OS thread, or memory, is not to be had.
 */
bool reserve_fill(void);

/* Has an OS thread in reserve be a carrier, and come back. False when there is none. */
bool reserve_run_carrier(void);

/* Whether the calling carrier is one of these. */
bool reserve_has_carrier(void);

/* Ends some OS threads of the reserve, where very many wait there: starts were too far ahead. */
void reserve_trim(void);

/* The Go runtime says so when it has started. */
void reserve_runtime_runs(void);

/* Whether the Go runtime runs: until then all carriers are those of the reserve. */
bool reserve_go_runs(void);

/* Whether the Go runtime may be entered: not in the child of a fork of a process that used it. */
bool reserve_has_go(void);

/* Has the child of a fork begin with none of them. */
void reserve_after_fork(void);

/* The OS thread of a carrier has ended under it: it will not be back. */
void reserve_lost(void);

/* Makes a detached pthread that runs func(arg), with the caller's signal mask. 0 or an errno. */
int reserve_create(pthread_t *os_thread, void *(*func)(void *), void *arg);

#endif
