/* handle.h - the record of a thread, and the table of these records that handles lead to. */
#ifndef HANDLE_H
#define HANDLE_H

#include "carrier.h"
#include "pythread.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A thread started here, from before it runs until it has ended and its handle is spent. */
struct thread {
    /* What a carrier gets of it, first in the record, so that a pointer to one is one to the other.
     */
    struct carrier_work work;
    /* handle.c: how often the slot was used before, whether its handle is spent, its users. */
    atomic_ullong word;
    /* handle.c: the slot's number, and that of the next free one + 1, 0 for none. */
    unsigned number;
    atomic_uint next_free;
    /* The process that the thread lives in: it is not in that process's children. */
    atomic_uint epoch;
    /* What joiners sleep on. */
    atomic_uint state;
    /* The handle that the thread is waiting to join, 0 for none. */
    atomic_uintptr_t joining;
    PyThread_ident_t ident;
    void (*func)(void *);
    void *arg;
    /* The signal mask and the modes of arithmetic that it begins with: its creator's. */
    uint64_t mask;
    uint64_t float_mode;
    /* It runs on a pthread of its own, not on a carrier. */
    bool own_pthread;
};

/* The states of a thread; awaited: running, and someone sleeps until it has ended. */
enum { THREAD_RUNNING, THREAD_AWAITED, THREAD_ENDED };

/*
 * A slot for a thread to be started, used by the thread, and its handle; with handle NULL there is
 * none. NULL when no memory is left.
 */
struct thread *thread_slot_new(PyThread_handle_t *handle);

/*
 * Finds the slot of a handle and becomes a user of it, provided that the handle is not spent.
 * 0, EINVAL or ESRCH as PyThread_join_thread documents them.
 */
int thread_slot_enter(PyThread_handle_t handle, struct thread **slot);

/* Ends one use of the slot. */
void thread_slot_leave(struct thread *slot);

/* Spends the handle of a slot that the caller uses, and ends that use. Whether this spent it. */
bool thread_slot_spend(struct thread *slot);

/* Adds the threads that have not ended and the handles that are not spent, in this process. */
void thread_slots_count(size_t *threads, size_t *handles);

#endif
