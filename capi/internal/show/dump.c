/*
 * dump.c - pythread_dump, which writes a line for each thread of this process: what the thread
 * does.
 *
 * A dump is for a program that hangs. So a signal handler may write it, on any thread and without
 * Go. Invariant: a dump takes no lock, allocates no memory and waits only for its file.
 *
 * Callers: C programs, dump.go, go_start.c.
 */
#define _GNU_SOURCE
#include "dump.h"

#include "sync/lock.h"
#include "sync/status.h"
#include "system/fork.h"
#include "system/os.h"
#include "text.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

const char *dump_shortcoming;

/* Adds a thread's name in the dump: its ident, in hexadecimal if the library did not start it. */
static void add_thread(struct text *text, PyThread_ident_t ident, bool is_ours)
{
    text_add(text, "thread ");
    if (is_ours) {
        text_add_number(text, ident);
    } else {
        text_add_address(text, ident);
    }
}

static void add_duration(struct text *text, int64_t since)
{
    text_add_thousandths(text, (status_now() - since) / 1000000);
    text_add(text, " s");
}

/* Adds a name in quotes. A quote or a control character in the name becomes a question mark. */
static void add_name(struct text *text, const char *name)
{
    text_add(text, " \"");
    for (; *name != '\0'; name++) {
        bool is_plain = (unsigned char)*name >= ' ' && *name != '"' && *name != '\x7f';
        text_add_byte(text, is_plain ? *name : '?');
    }
    text_add_byte(text, '"');
}

/* Finds the place of the thread with an ident, and what the thread does. Returns false if no place
   has the thread. */
static bool find_thread(PyThread_ident_t ident, unsigned *place, struct status_view *view)
{
    for (*place = 0; ident != 0 && *place < status_places(); ++*place) {
        if (status_look(*place, view) && view->ident == ident) {
            return true;
        }
    }
    return false;
}

/* Returns the ident of the thread that a thread waits for, or 0 if no such thread is known. */
static PyThread_ident_t awaited_thread(const struct status_view *view)
{
    PyThread_ident_t holder;
    switch (view->wait.reason) {
    case WAITS_FOR_THREAD:
        return view->wait.what;
    case WAITS_FOR_LOCK:
        return lock_look(view->wait.what, &holder) ? holder : 0;
    case WAITS_FOR_MUTEX: /* The byte of a mutex does not tell which thread has the mutex. */
    case WAITS_FOR_NOTHING:
        break;
    }
    return 0;
}

/* Adds which thread holds a lock. */
static void add_holder(struct text *text, PyThread_ident_t holder)
{
    unsigned place;
    struct status_view view;
    text_add(text, ", held by ");
    if (holder == 0) {
        text_add(text, "Go code");
    } else {
        /* If no place has the holder, its ident tells what it is. The idents of this library's
           threads are small. Those of other threads are addresses on 64-bit POSIX systems. */
        bool is_ours = find_thread(holder, &place, &view) ? view.is_ours : holder <= UINT32_MAX;
        add_thread(text, holder, is_ours);
    }
}

/* Adds what a thread waits for, and since when. */
static void add_wait(struct text *text, const struct status_view *view)
{
    PyThread_ident_t holder;
    text_add(text, "waits ");
    add_duration(text, view->wait.since);
    if (view->wait.reason == WAITS_FOR_MUTEX) {
        text_add(text, " for mutex ");
        text_add_address(text, view->wait.what);
    } else if (view->wait.reason == WAITS_FOR_LOCK) {
        text_add(text, " for lock ");
        text_add_address(text, view->wait.what);
        if (lock_look(view->wait.what, &holder)) {
            add_holder(text, holder);
        }
    } else {
        text_add(text, " for the end of ");
        add_thread(text, view->wait.what, true);
    }
}

/* Writes the line of a thread. Returns 0 or an errno. */
static int write_thread(int fd, const struct status_view *view)
{
    struct text line = {.length = 0};
    char name[OS_NAME_SIZE];
    bool runs = true, is_known = os_look_at(view->native_id, name, &runs);
    add_thread(&line, view->ident, view->is_ours);
    if (is_known) {
        add_name(&line, name);
    }
    text_add(&line, ", OS thread ");
    text_add_number(&line, view->native_id);
    if (view->is_ours) {
        text_add(&line, ", ");
        add_duration(&line, view->since);
        text_add(&line, " old: ");
    } else {
        text_add(&line, ", not started here: ");
    }
    if (view->wait.reason != WAITS_FOR_NOTHING) {
        add_wait(&line, view);
    } else {
        text_add(&line, !is_known ? "runs, or waits for nothing that the library knows"
                        : runs    ? "runs"
                                  : "waits for nothing that the library knows");
    }
    text_add_byte(&line, '\n');
    return os_write(fd, line.bytes, line.length);
}

/* ------------------------------------------------------------------------ rings of waits */

/* Steps from a thread to the thread that it waits for. Returns false if no place has the latter. */
static bool step(unsigned *place, struct status_view *view)
{
    return find_thread(awaited_thread(view), place, view);
}

/*
 * Goes around the ring of waits in which the thread at place `first` is, and writes the ring unless
 * fd is -1. Returns false if there is no ring.
 *
 * *waits becomes the sum of the threads' numbers of waits (status_view), which only grow. So if the
 * same threads have the same sum later, their waits are the same.
 */
static bool go_around(unsigned first, int fd, unsigned *waits)
{
    unsigned place = first;
    struct status_view view;
    bool is_seen = status_look(place, &view);
    *waits = 0;
    for (unsigned steps = 0; is_seen && steps < status_places(); steps++) {
        struct text text = {.length = 0};
        text_add(&text, steps == 0 ? "deadlock: " : "");
        add_thread(&text, view.ident, view.is_ours);
        text_add(&text, view.wait.reason == WAITS_FOR_LOCK ? " waits for a lock of "
                                                           : " waits for the end of ");
        *waits += view.waits;
        is_seen = step(&place, &view);
        if (is_seen && place == first) {
            add_thread(&text, view.ident, view.is_ours);
            text_add_byte(&text, '\n');
        }
        if (fd >= 0) {
            os_write(fd, text.bytes, text.length);
        }
        if (place == first) {
            return is_seen;
        }
    }
    return false;
}

/*
 * Writes all rings of waits. From each thread a walk goes to the thread that it waits for, and so
 * on, and leaves its mark at each. A walk ends at a thread that has a mark of this dump already. If
 * this is the mark of the same walk, the walk has gone around a ring.
 */
static void write_rings(int fd)
{
    /* The mark of the walk: a number that no earlier walk has used, in this dump or another. */
    static unsigned walk;
    const unsigned first_walk = walk + 1;
    for (unsigned start = 0; start < status_places(); start++) {
        unsigned waits, waits_again, place = start;
        struct status_view view;
        bool is_seen = status_look(place, &view);
        walk++;
        while (is_seen && *status_mark(place) < first_walk) {
            *status_mark(place) = walk;
            is_seen = step(&place, &view);
        }
        /* Waits that change during the walk may look like a ring. So the ring counts only if the
           same waits are found twice. */
        if (is_seen && *status_mark(place) == walk && go_around(place, -1, &waits) &&
            go_around(place, -1, &waits_again) && waits == waits_again) {
            go_around(place, fd, &waits);
        }
    }
}

int pythread_dump(int fd)
{
    static atomic_uint writing;
    struct text head = {.length = 0};
    struct status_view view;
    /* Only one dump at a time may use the marks. In the child of a fork, fork_enter also makes the
       library forget the parent's threads. */
    if (!fork_enter(&writing)) {
        return EBUSY;
    }
    text_add(&head, "pythread: the threads of process ");
    text_add_number(&head, os_process_id());
    text_add_byte(&head, '\n');
    int error = os_write(fd, head.bytes, head.length);
    if (error == 0 && dump_shortcoming != NULL) {
        head.length = 0;
        text_add(&head, "pythread: ");
        text_add(&head, dump_shortcoming);
        text_add_byte(&head, '\n');
        error = os_write(fd, head.bytes, head.length);
    }
    for (unsigned place = 0; error == 0 && place < status_places(); place++) {
        if (status_look(place, &view)) {
            error = write_thread(fd, &view);
        }
    }
    if (error == 0) {
        write_rings(fd);
    }
    fork_leave(&writing);
    return error;
}

/* ------------------------------------------------------------------------ PYTHREAD_DUMP_SIGNAL */

#ifndef _WIN32

static void dump_to_stderr(int signal)
{
    (void)signal;
    pythread_dump(OS_STDERR);
}

/* Returns the number of the signal with this name, without SIG. Returns 0 for any other name. */
static int signal_number(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } signals[] = {{"HUP", SIGHUP}, {"QUIT", SIGQUIT}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2}};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        if (strcmp(name, signals[i].name) == 0) {
            return signals[i].number;
        }
    }
    return 0;
}

void dump_on_signal(void)
{
    const char *name = getenv("PYTHREAD_DUMP_SIGNAL");
    struct sigaction action = {.sa_handler = dump_to_stderr, .sa_flags = SA_ONSTACK | SA_RESTART};
    if (name != NULL) {
        int number = signal_number(strncmp(name, "SIG", 3) == 0 ? name + 3 : name);
        if (number == 0) {
            os_write_error("PYTHREAD_DUMP_SIGNAL must be HUP, QUIT, USR1 or USR2\n");
        } else {
            sigaction(number, &action, NULL);
        }
    }
}

__attribute__((constructor)) static void at_load(void)
{
    dump_on_signal();
}

#else

void dump_on_signal(void)
{
}

#endif
