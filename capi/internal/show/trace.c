/*
 * trace.c - pythread_trace, which writes what the threads of this process did to a file. The file
 * has the trace event format, which Perfetto and chrome://tracing show.
 *
 * When an event is over, its OS thread appends the event to the OS thread's own buffer. If the
 * buffer is full, the OS thread writes it to the file. Two invariants:
 *
 *   - Only the user of a buffer reads or writes its bytes. The user is the buffer's OS thread, or
 *     the OS thread that ends the trace.
 *   - A user that has found the trace on may write to the file until it gives the buffer back. So
 *     the end of a trace switches the trace off, then takes each buffer, and then closes the file.
 *
 * status.c calls the tracer `trace` for each event.
 *
 * Callers: C programs.
 */
#define _GNU_SOURCE
#include "sync/identity.h"
#include "sync/status.h"
#include "system/fork.h"
#include "system/os.h"
#include "text.h"

#include <errno.h>
#include <stdlib.h>

enum { PAGE = 4096 };

/* Who uses a buffer: its OS thread, or the OS thread that ends the trace. */
enum user { NONE, ITS_OS_THREAD, END_OF_TRACE };

struct buffer {
    struct buffer *next;
    _Atomic(enum user) user;
    size_t length;
    char bytes[PAGE - sizeof(void *) - 2 * sizeof(size_t)];
};
_Static_assert(sizeof(struct buffer) == PAGE, "a buffer is a page");

/* The list of all buffers. No buffer is ever freed. */
static _Atomic(struct buffer *) buffers;

/* The file of the trace, or -1, and the epoch and the number of the process that opened the file.
   Only pythread_trace changes them, while this process writes no trace. */
static int file = -1;
static atomic_uint epoch;
static unsigned long process;

static bool is_on(void)
{
    /* Sequentially consistent: see take and make_buffer. */
    return atomic_load(&status_traced_by) != NULL;
}

/* ------------------------------------------------------------------------ buffers */

/* Takes the buffer for a user. Returns NONE, or the user that has the buffer already. */
static enum user take(struct buffer *buffer, enum user user)
{
    enum user before = NONE;
    /* Sequentially consistent, like is_on and the store that switches the trace off. So append
       finds that the trace is off, or the end of the trace finds that the buffer has a user. */
    atomic_compare_exchange_strong(&buffer->user, &before, user);
    return before;
}

static void give_back(struct buffer *buffer)
{
    /* Release: what this user did with the buffer happens before what the next user does. */
    atomic_store_explicit(&buffer->user, NONE, memory_order_release);
}

/* Writes the contents of the buffer to the file. */
static void flush(struct buffer *buffer)
{
    os_write(file, buffer->bytes, buffer->length);
    buffer->length = 0;
}

/* Makes a buffer. Returns NULL if there is no memory. */
static struct buffer *make_buffer(void)
{
    struct buffer *buffer = os_map(sizeof *buffer);
    if (buffer != NULL) {
        /* Sequentially consistent, like is_on. So the end of a trace finds the buffer in the list,
           or append finds that the trace is off. */
        buffer->next = atomic_load(&buffers);
        while (!atomic_compare_exchange_weak(&buffers, &buffer->next, buffer)) {
        }
    }
    return buffer;
}

/* Appends events to the caller's buffer if the trace is still on. */
static void append(struct buffer *buffer, const struct text *text)
{
    enum user before = take(buffer, ITS_OS_THREAD);
    if (before == END_OF_TRACE) {
        return;
    }
    if (before == ITS_OS_THREAD) {
        /* The caller is a signal handler that has interrupted this function. The file stays open
           until the interrupted call gives the buffer back. */
        if (is_on()) {
            os_write(file, text->bytes, text->length);
        }
        return;
    }
    if (is_on()) {
        if (buffer->length + text->length > sizeof buffer->bytes) {
            flush(buffer);
        }
        memcpy(buffer->bytes + buffer->length, text->bytes, text->length);
        buffer->length += text->length;
    }
    give_back(buffer);
}

/* ------------------------------------------------------------------------ events */

/* Begins an event, with its kind, OS thread and time. The time is in nanoseconds, and the format
   has microseconds. */
static void add_event(struct text *text, const char *kind, unsigned long os_thread, int64_t at)
{
    text_add(text, ",\n{\"ph\":\"");
    text_add(text, kind);
    text_add(text, "\",\"pid\":");
    text_add_number(text, process);
    text_add(text, ",\"tid\":");
    text_add_number(text, os_thread);
    text_add(text, ",\"ts\":");
    text_add_thousandths(text, at);
}

/* Begins a bar that lasts from `since` until now, and the bar's name. The caller adds a number to
   the name, and the end of the event. */
static void add_bar(struct text *text, unsigned long os_thread, int64_t since, const char *name)
{
    add_event(text, "X", os_thread, since);
    text_add(text, ",\"dur\":");
    text_add_thousandths(text, os_now_ns() - since);
    text_add(text, ",\"name\":\"");
    text_add(text, name);
}

/* Adds one end of the arrow that leads from the start of a thread to the thread. */
static void add_arrow(struct text *text, const char *kind, int64_t at, PyThread_ident_t ident)
{
    add_event(text, kind, identity_native_id(), at);
    text_add(text, ",\"cat\":\"start\",\"name\":\"start\",\"id\":");
    text_add_number(text, ident);
    text_add_byte(text, '}');
}

/* Adds the bar of a thread from its beginning until now. */
static void add_run(struct text *text, unsigned long os_thread, PyThread_ident_t ident,
                    int64_t since)
{
    add_bar(text, os_thread, since, "thread ");
    text_add_number(text, ident);
    text_add(text, "\"}");
}

/* True if this process, and not its parent, has opened the file. */
static bool is_own(void)
{
    /* Acquire: pairs with begin. */
    return atomic_load_explicit(&epoch, memory_order_acquire) == fork_epoch();
}

/* The status_tracer. *memory is the caller's buffer, or NULL before the first event. */
static void trace(void **memory, struct status_event event)
{
    struct text text = {.length = 0};
    if (!is_own() || (*memory == NULL && (*memory = make_buffer()) == NULL)) {
        return;
    }
    switch (event.what) {
    case HAS_STARTED:
        add_bar(&text, identity_native_id(), event.since, "start thread ");
        text_add_number(&text, event.ident);
        text_add(&text, "\"}");
        add_arrow(&text, "s", event.since, event.ident);
        break;
    case HAS_RUN:
        add_run(&text, identity_native_id(), event.ident, event.since);
        /* "bp":"e" ties this end of the arrow to the bar that encloses it. */
        add_arrow(&text, "f\",\"bp\":\"e", event.since, event.ident);
        break;
    case HAS_WAITED:
        if (event.wait.reason != WAITS_FOR_THREAD) {
            add_bar(&text, identity_native_id(), event.since,
                    event.wait.reason == WAITS_FOR_LOCK ? "wait for lock " : "wait for mutex ");
            text_add_address(&text, event.wait.what);
        } else {
            add_bar(&text, identity_native_id(), event.since, "join thread ");
            text_add_number(&text, event.wait.what);
        }
        text_add(&text, "\"}");
        break;
    }
    append(*memory, &text);
}

/* ------------------------------------------------------------------------ a trace */

/* Begins a trace. Returns 0 or an errno. */
static int begin(const char *path)
{
    struct text head = {.length = 0};
    int fd = os_create(path);
    if (fd < 0) {
        return -fd;
    }
    process = os_process_id();
    text_add(&head, "[{\"ph\":\"M\",\"pid\":");
    text_add_number(&head, process);
    text_add(&head, ",\"name\":\"process_labels\",\"args\":{\"labels\":\"pythread\"}}");
    int error = os_write(fd, head.bytes, head.length);
    if (error != 0) {
        os_close(fd);
        return error;
    }
    if (!is_own()) {
        /* This is the child of a fork, and the parent's trace may still be on. The buffers may have
           events of the parent, and users that are threads of the parent. */
        atomic_store(&status_traced_by, NULL);
        for (struct buffer *buffer = atomic_load(&buffers); buffer != NULL; buffer = buffer->next) {
            buffer->length = 0;
            give_back(buffer);
        }
    }
    file = fd;
    /* Release: a thread that finds this epoch also finds the trace off, or uses the new file. */
    atomic_store_explicit(&epoch, fork_epoch(), memory_order_release);
    atomic_store(&status_traced_by, trace);
    return 0;
}

/* Writes the bar of each thread that has not ended. Returns 0 or an errno. */
static int write_running(void)
{
    struct status_view view;
    int error = 0;
    for (unsigned place = 0; error == 0 && place < status_places(); place++) {
        if (status_look(place, &view) && view.is_ours) {
            struct text text = {.length = 0};
            add_run(&text, view.native_id, view.ident, view.since);
            error = os_write(file, text.bytes, text.length);
        }
    }
    return error;
}

/* Ends the trace of this process, if there is one. Returns 0 or an errno. */
static int end(void)
{
    static const char last[] = "\n]\n";
    if (file < 0 || !is_own()) {
        return 0;
    }
    /* Sequentially consistent: see take and make_buffer. */
    atomic_store(&status_traced_by, NULL);
    for (struct buffer *buffer = atomic_load(&buffers); buffer != NULL; buffer = buffer->next) {
        while (take(buffer, END_OF_TRACE) != NONE) {
            os_relax(); /* not for long: the user only appends events */
        }
        flush(buffer);
        give_back(buffer);
    }
    int error = write_running();
    if (error == 0) {
        error = os_write(file, last, sizeof last - 1);
    }
    os_close(file);
    file = -1;
    return error;
}

int pythread_trace(const char *path)
{
    static atomic_uint calling;
    if (!fork_enter(&calling)) {
        return EBUSY;
    }
    int error = end();
    if (path != NULL) {
        error = begin(path);
    }
    fork_leave(&calling);
    return error;
}

__attribute__((constructor)) static void at_load(void)
{
    const char *path = getenv("PYTHREAD_TRACE");
    if (path != NULL && pythread_trace(path) != 0) {
        os_write_error("PYTHREAD_TRACE: the file cannot be written\n");
    }
}

__attribute__((destructor)) static void at_exit(void)
{
    pythread_trace(NULL);
}
