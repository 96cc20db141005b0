/*
 * handle.h - the record of a thread, and the table in which handles lead to records.
 *
 * Only thread.c calls this. A slot is the place of a record in the table.
 */
#ifndef HANDLE_H
#define HANDLE_H

#include "carrier.h"
#include "pythread.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A thread started here, from before it runs until it has ended and its handle is spent. */
struct thread {
    /* What a carrier gets of the thread. It is first, so that a pointer to it points to the record
       as well. */
    struct carrier_work work;
    /* handle.c: the number of the slot's users, the mark of a spent handle, the slot's earlier
     * uses. */
    atomic_ullong word;
    /* handle.c: the slot's number; the next free slot's number + 1, or 0. */
    unsigned number;
    atomic_uint next_free;
    /* The process that the thread lives in (fork.h). The children of that process do not have it.
     */
    atomic_uint epoch;
    /* One of the states below. Joiners sleep on it. */
    atomic_uint state;
    /* The handle that the thread waits to join, or 0. */
    atomic_uintptr_t joining;
    PyThread_ident_t ident;
    void (*func)(void *);
    void *arg;
    /* The creator's signal mask and modes of arithmetic, with which the thread begins. */
    uint64_t mask;
    uint64_t float_mode;
    /* True if the thread runs on a pthread of its own, not on a carrier. */
    bool own_pthread;
};

/* The states of a thread. An awaited thread runs, and a joiner sleeps until it has ended. */
enum { THREAD_RUNNING, THREAD_AWAITED, THREAD_ENDED };

/*
 * Finds a slot for a thread that is about to be started, and makes the thread its user. Stores the
 * handle, which is a user too; with handle NULL the thread has none. NULL when no memory is left,
 * or 4 million threads exist.
 */
struct thread *thread_slot_new(PyThread_handle_t *handle);

/*
 * Finds the slot of a handle that is not spent, and makes the caller its user. 0, EINVAL or ESRCH,
 * as PyThread_join_thread documents them.
 */
int thread_slot_enter(PyThread_handle_t handle, struct thread **slot);

/* Ends the use of one user. */
void thread_slot_leave(struct thread *slot);

/* Spends the handle of a slot that the caller uses, and ends that use. False if the handle was
   spent before. */
bool thread_slot_spend(struct thread *slot);

/* Adds to the counts this process's threads that have not ended and handles that are not spent. */
void thread_slots_count(size_t *threads, size_t *handles);

#endif
