//go:build linux

/*
 * go_start.c - when the Go runtime starts in a C program, and what it is told then.
 *
 * Go's constructor reads the table of signals, keeps the program's arguments and asks for its first
 * OS thread. That thread starts Go, so it waits for the program's first thread. Two places in Go's
 * memory are changed, which have no names for C. Each is found in this library's own writable
 * segments by what stands there:
 *   - the table of signals: all flags are cleared, so that Go handles and unblocks no signal;
 *   - the pointer to the arguments, behind which Go looks for its environment: settings that are
 *     meant for other Go programs do not reach this one, and Go gets those below.
 *
 * Invariant: a place that is not found stays as it is. Then Go handles signals as in any Go library
 * (loading.c), or reads the program's environment.
 *
 * go_threads.c and loading.c call this.
 */
#define _GNU_SOURCE
#include "go_start.h"

#include "thread/go.h"
#include "show/dump.h"
#include "nofile/nofile.h"

#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

/*
 * Go's settings here. It has these processors from the start; sends no signals to preempt
 * goroutines, as the program may use SIGURG; keeps no profile of its own locks; and keeps no file
 * open to follow the limits of a container.
 */
static char *const settings[] = {
    "GODEBUG=asyncpreemptoff=1,profstackdepth=0,containermaxprocs=0,updatemaxprocs=0",
    "GOMAXPROCS=4",
};
_Static_assert(GO_FIRST_PROCESSORS == 4, "this is GOMAXPROCS above");
enum { SETTINGS = sizeof settings / sizeof *settings };

/* What Go asks of the kernel's vector; the rest it does without. */
static const unsigned long wanted[] = {AT_PAGESZ, AT_HWCAP,  AT_HWCAP2,       AT_PLATFORM,
                                       AT_SECURE, AT_RANDOM, AT_SYSINFO_EHDR, AT_NULL};
enum { WANTED = sizeof wanted / sizeof *wanted };

/* ------------------------------------------------------------------------ Go's memory */

/* An entry of Go's table of signals. */
struct signal {
    int32_t flags;
    const char *name;
    intptr_t length;
};
enum { SIGNALS = 65, C_LIBRARYS_FIRST = 32, C_LIBRARYS_LAST = 33 };

static bool is_in(const struct dl_phdr_info *image, const void *address, size_t size)
{
    for (int i = 0; i < image->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &image->dlpi_phdr[i];
        uintptr_t offset = (uintptr_t)address - (image->dlpi_addr + segment->p_vaddr);
        if (segment->p_type == PT_LOAD && offset < segment->p_memsz &&
            size <= segment->p_memsz - offset) {
            return true;
        }
    }
    return false;
}

/* The search reads all that stands in the segments, also between variables: AddressSanitizer would
   take that for an error. */
#define READS_ALL __attribute__((no_sanitize_address))

READS_ALL static bool has_prefix(const char *bytes, const char *prefix)
{
    while (*prefix != '\0' && *bytes == *prefix) {
        bytes++;
        prefix++;
    }
    return *prefix == '\0';
}

READS_ALL static bool is_named(const struct dl_phdr_info *image, const struct signal *signal,
                               const char *name)
{
    size_t length = strlen(name);
    return (size_t)signal->length >= length && is_in(image, signal->name, length) &&
           has_prefix(signal->name, name);
}

/* Almost no place passes this, so the search takes little time. */
READS_ALL static bool has_length(const struct signal *signal)
{
    enum { LEAST = sizeof "SIGHUP" - 1, MOST = 63 };
    return (uintptr_t)signal->length - LEAST <= MOST - LEAST;
}

READS_ALL static bool is_table(const struct dl_phdr_info *image, const struct signal *table)
{
    return has_length(&table[0]) && has_length(&table[1]) && has_length(&table[11]) &&
           has_length(&table[64]) && is_named(image, &table[0], "SIGNONE") &&
           is_named(image, &table[1], "SIGHUP") && is_named(image, &table[11], "SIGSEGV") &&
           is_named(image, &table[64], "signal 64");
}

enum { MOST_WORDS = 8 };

/* What is looked for, and found. The first search comes before Go's constructor. */
static struct search {
    char **arguments; /* their value */
    struct signal *table;
    /* The words that have that value. */
    char ***words[MOST_WORDS];
    size_t count;
} before_go;

READS_ALL static void look_at(struct search *search, const struct dl_phdr_info *image, char *word,
                              size_t left)
{
    if (search->table == NULL && left >= SIGNALS * sizeof(struct signal) &&
        is_table(image, (struct signal *)word)) {
        search->table = (struct signal *)word;
    }
    if (*(char ***)word == search->arguments && search->count < MOST_WORDS) {
        search->words[search->count++] = (char ***)word;
    }
}

/* dl_iterate_phdr calls this for each image; the one that has the search in it is our own. */
static int look_into(struct dl_phdr_info *image, size_t size, void *arg)
{
    struct search *search = arg;
    (void)size;
    if (!is_in(image, &before_go, sizeof before_go)) {
        return 0;
    }
    for (int i = 0; i < image->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &image->dlpi_phdr[i];
        char *start = (char *)(image->dlpi_addr + segment->p_vaddr);
        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W) == 0) {
            continue;
        }
        /* The place of the arguments has an initial value, 0, as the table has one. */
        for (size_t at = 0; at + sizeof(void *) <= segment->p_filesz; at += sizeof(void *)) {
            look_at(search, image, start + at, segment->p_filesz - at);
        }
    }
    return 1;
}

/* ------------------------------------------------------------------------ the start */

/* Where Go keeps the program's arguments; NULL where that was not found. */
static char ***place;
static int argument_count;

/* What Go's constructor wants to run on an OS thread. */
static void *(*go_func)(void *);
static void *go_arg;
static bool (*create_os_thread)(void *(*func)(void *), void *arg);
static enum { AWAKE, LOADING, ASLEEP } phase = AWAKE;

/* The program's arguments, with an environment and a vector behind them that are Go's own. NULL
   where there is no memory. */
static char **make_arguments(void)
{
    static char random[16];
    ElfW(auxv_t) * vector;
    size_t environment = (size_t)argument_count + 1;
    size_t words = environment + SETTINGS + 1;
    char **arguments = calloc(1, words * sizeof *arguments + WANTED * sizeof *vector);
    if (arguments == NULL) {
        return NULL;
    }
    memcpy(arguments, *place, (size_t)argument_count * sizeof *arguments);
    memcpy(arguments + environment, settings, sizeof settings);
    vector = (void *)(arguments + words);
    for (size_t i = 0; wanted[i] != AT_NULL; i++) {
        unsigned long value = getauxval(wanted[i]);
        if (wanted[i] == AT_RANDOM && value != 0) {
            /* Go takes these bytes as a seed, and clears them. */
            memcpy(random, (void *)value, sizeof random);
            value = (unsigned long)random;
        }
        if (value != 0) {
            vector->a_type = wanted[i];
            vector->a_un.a_val = value;
            vector++;
        }
    }
    return arguments;
}

static bool start(void)
{
    char **arguments = NULL, **programs = NULL;
    nofile_note();
    if (place != NULL) {
        arguments = make_arguments();
        if (arguments == NULL) {
            return false;
        }
        programs = *place;
        *place = arguments;
    }
    if (!create_os_thread(go_func, go_arg)) {
        if (place != NULL) {
            *place = programs;
            free(arguments);
        }
        return false;
    }
    return true;
}

bool go_start_takes(void *(*func)(void *), void *arg)
{
    if (phase != LOADING) {
        return false;
    }
    go_func = func;
    go_arg = arg;
    return true;
}

void go_start_waits(bool (*create)(void *(*func)(void *), void *arg))
{
    create_os_thread = create;
    phase = LOADING;
    go_sleeps(start);
}

bool go_start_changes_nothing(void)
{
    return phase != AWAKE && before_go.table != NULL;
}

void go_start_leaves_signals(char **arguments)
{
    before_go.arguments = arguments;
    dl_iterate_phdr(look_into, &before_go);
    for (int i = 0; before_go.table != NULL && i < SIGNALS; i++) {
        /* The C library sends these two to all threads: Go's stay open to them. */
        if (i < C_LIBRARYS_FIRST || i > C_LIBRARYS_LAST) {
            before_go.table[i].flags = 0;
        }
    }
}

/* True where the word had the value before Go's constructor ran. */
static bool is_old(char ***word)
{
    if (word == &before_go.arguments) {
        return true;
    }
    for (size_t i = 0; i < before_go.count; i++) {
        if (before_go.words[i] == word) {
            return true;
        }
    }
    return false;
}

static void find_place(char **arguments)
{
    struct search now = {.arguments = arguments, .table = before_go.table};
    size_t found = 0;
    dl_iterate_phdr(look_into, &now);
    for (size_t i = 0; i < now.count; i++) {
        if (!is_old(now.words[i])) {
            found++;
            place = now.words[i];
        }
    }
    if (found != 1) {
        place = NULL;
    }
}

/* After Go's own constructor. */
__attribute__((constructor)) static void after_go_loaded(int argc, char **argv)
{
    if (phase == LOADING && go_func == NULL) {
        /* It asked for no OS thread, so Go has begun in another way. */
        phase = AWAKE;
        go_sleeps(NULL);
    }
    if (phase == LOADING) {
        phase = ASLEEP;
        argument_count = argc;
        find_place(argv);
    }
    if (before_go.table == NULL) {
        dump_shortcoming =
            "the library handles signals like any Go library: its table is not found";
    } else if (phase == AWAKE) {
        dump_shortcoming = "the Go runtime started when the library was loaded";
    } else if (place == NULL) {
        dump_shortcoming = "the Go runtime reads the environment: its arguments are not found";
    }
}
