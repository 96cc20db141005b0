/*
 * dump.c - pythread_dump: a line for each thread of this process, with what it does.
 *
 * A dump is for a program that hangs, so it may be written in a signal handler, on any thread, and
 * without Go. Invariant: it takes no lock, allocates no memory and waits only for its file. It
 * reads status.h and lock.h.
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

/* Adds a name in quotes. A byte that would end the quotes or the line becomes a question mark. */
static void add_name(struct text *text, const char *name)
{
    text_add(text, " \"");
    for (; *name != '\0'; name++) {
        bool is_plain = (unsigned char)*name >= ' ' && *name != '"' && *name != '\x7f';
        text_add_byte(text, is_plain ? *name : '?');
    }
    text_add_byte(text, '"');
}

/* Finds the thread with an ident. False if no place has it. */
static bool find(PyThread_ident_t ident, unsigned *place, struct status_view *view)
{
    for (*place = 0; ident != 0 && *place < status_places(); ++*place) {
        if (status_look(*place, view) && view->ident == ident) {
            return true;
        }
    }
    return false;
}

/* The ident of the thread that a thread waits for; 0: none, or not known. */
static PyThread_ident_t awaited(const struct status_view *view)
{
    PyThread_ident_t holder;
    switch (view->wait.reason) {
    case WAITS_FOR_THREAD:
        return view->wait.what;
    case WAITS_FOR_LOCK:
        return lock_look(view->wait.what, &holder) ? holder : 0;
    case WAITS_FOR_MUTEX: /* A byte does not tell who has it. */
    case WAITS_FOR_NOTHING:
        break;
    }
    return 0;
}

static void add_holder(struct text *text, PyThread_ident_t holder)
{
    unsigned place;
    struct status_view view;
    text_add(text, ", held by ");
    if (holder == 0) {
        text_add(text, "Go code");
    } else {
        /* Idents of this library's threads are small, those of other threads are addresses. */
        add_thread(text, holder, find(holder, &place, &view) ? view.is_ours : holder <= UINT32_MAX);
    }
}

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

/* ------------------------------------------------------------------------ rings */

/* Steps from a thread to the one that it waits for. False if no place has that one. */
static bool step(unsigned *place, struct status_view *view)
{
    return find(awaited(view), place, view);
}

/*
 * Goes around the ring of waits that the thread at place `first` is in, and writes the ring unless
 * fd is -1. False if there is no ring. *waits gets the sum of the waits' numbers, which tells these
 * waits from all later ones.
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

/* Follows each thread to the ones that it waits for, up to a thread that has a mark of this dump.
   If the mark is from the same walk, there is a ring. */
static void write_rings(int fd)
{
    /* Each walk has a number, as its mark, that no earlier dump has used. */
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
        /* Waits that change meanwhile may look like a ring. So the same waits must be there twice.
         */
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
    /* One dump at a time uses the marks. In the child of a fork this also forgets the parent's
     * threads. */
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

static void dump(int signal)
{
    (void)signal;
    pythread_dump(OS_STDERR);
}

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
    struct sigaction action = {.sa_handler = dump, .sa_flags = SA_ONSTACK | SA_RESTART};
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
