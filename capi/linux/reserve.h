/*
 * reserve.h - the OS threads under carriers, and the Go runtime on them.
 *
 * carrier.c and carrier.go call this; thread.c creates pthreads here, and reads the counts.
 */
#ifndef RESERVE_H
#define RESERVE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/*
 * The runtime's GOMAXPROCS. A carrier in a thread keeps its processor until the runtime's monitor
 * takes it back, some tens of microseconds later, one processor at a time. With as many processors
 * as the machine has, threads that all block would come to run that much later, one after the
 * other. More than this number gained nothing. Idle processors cost nothing, since a carrier that
 * lingers takes the next thread first.
 */
enum { RESERVE_PROCESSORS = 16 };

/* The OS threads that exist for carriers: those that the Go runtime has, and the reserve's. */
extern atomic_long reserve_os_threads;

/*
 * The carriers. A carrier counts from its launch until its OS thread can be taken again: carrier.c
 * counts it up, and down counts the reserve for a pthread and carrier.go for a goroutine.
 */
extern atomic_long reserve_carriers;

/* What the reserve has to know of the carriers, which call it. */
struct reserve_client {
    /*
     * The number of OS threads that the carriers can want: those that exist and those to come. It
     * takes the carriers' mutex, and the reserve may call it while it holds its own. Hence the lock
     * order: the reserve's mutex, then the carriers'. While a carrier holds the latter it calls
     * reserve_suffices, reserve_is_caller and the counts here, which take no mutex, and no more.
     */
    long (*threads_wanted)(void);
    /* Makes the calling OS thread a carrier, until there is no thread to run. */
    void (*work)(void);
};

/* Registers the carriers. Called once, in a constructor, before there are other threads. */
void reserve_serve(struct reserve_client client);

/* True if OS threads and memory for so many carriers exist. */
bool reserve_suffices(long carriers);

/* Makes OS threads until there are as many as the carriers want. False when the system refuses an
   OS thread or memory. */
bool reserve_ensure_threads(void);

/* Starts the Go runtime, beside the caller, if there is room for it. Only the first call does. */
void reserve_start_go(void);

/* Makes a pthread of the reserve a carrier, until there is no thread to run. False when the reserve
   is empty. */
bool reserve_run_carrier(void);

/* True on an OS thread that reserve_run_carrier made a carrier. */
bool reserve_is_caller(void);

/* Ends some OS threads of the reserve where very many wait there: starts were too far ahead. */
void reserve_trim(void);

/* The Go runtime calls this when it has started. */
void reserve_go_began(void);

/* True when the Go runtime has started. Until then the reserve's pthreads are the only carriers. */
bool reserve_go_running(void);

/* True if Go may be entered: not in the child of a process that had its Go runtime started. */
bool reserve_go_allowed(void);

/* Resets the reserve in the child of a fork: none of these OS threads is there. */
void reserve_after_fork(void);

/* The OS thread under a carrier ends in the middle of a thread: neither comes back. */
void reserve_thread_exited(void);

/* Makes a detached pthread that runs func(arg), with the caller's signal mask and a stack of so
   many bytes, or of the usual size where stack_size is 0. 0 or an errno. */
int reserve_create(pthread_t *os_thread, void *(*func)(void *), void *arg, size_t stack_size);

#endif
