//go:build linux

/*
 * go_start.c - delays the start of the Go runtime in a C program, and gives Go its settings.
 *
 * Go's constructor reads the table of signals, keeps the program's arguments and asks for its first
 * OS thread, which starts Go. This file keeps that request until the program's first thread. It
 * also changes two places in Go's memory, which have no names in C. It finds each in this library's
 * own writable segments, by its contents:
 *   - the table of signals: its flags are cleared, so that Go handles and unblocks no signal;
 *   - the pointer to the arguments, behind which Go looks for its environment: Go gets the settings
 *     below instead of those that the program's environment has for other Go programs.
 *
 * Invariant: a place that is not found stays unchanged. Then Go handles signals as in any Go
 * library (loading.c), or reads the program's environment.
 *
 * Callers: go_threads.c, loading.c.
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
 * Go's settings. Go has these processors from the start. It sends no signals to preempt goroutines,
 * because the program may use SIGURG. It keeps no profile of its locks, and no open file for the
 * limits of a container.
 */
static char *const settings[] = {
    "GODEBUG=asyncpreemptoff=1,profstackdepth=0,containermaxprocs=0,updatemaxprocs=0",
    "GOMAXPROCS=4",
};
_Static_assert(GO_FIRST_PROCESSORS == 4, "this is GOMAXPROCS above");
enum { SETTINGS = sizeof settings / sizeof *settings };

/* The entries of the kernel's auxiliary vector that Go gets. It does not need the others. */
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

/* The search also reads memory between variables, which AddressSanitizer would report. */
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

/* Almost no place passes this check, so the search takes little time. */
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

/* A search, and what it has found. The first search runs before Go's constructor. */
static struct search {
    char **arguments; /* the value of the pointer to the arguments */
    struct signal *table;
    /* The words with that value. */
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

/* The part of the segment that the loader has made read-only. Go's variables are behind it. */
static size_t read_only_part(const struct dl_phdr_info *image, const ElfW(Phdr) * segment)
{
    size_t size = 0;
    for (int i = 0; i < image->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &image->dlpi_phdr[i];
        if (part->p_type == PT_GNU_RELRO && part->p_vaddr == segment->p_vaddr) {
            size = part->p_memsz;
        }
    }
    return size;
}

/* dl_iterate_phdr calls this for each image. The library's own image has the variable before_go. */
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
        /* Both places have initial values, so they are in the part of the segment from the file. */
        for (size_t at = read_only_part(image, segment); at + sizeof(void *) <= segment->p_filesz;
             at += sizeof(void *)) {
            look_at(search, image, start + at, segment->p_filesz - at);
        }
    }
    return 1;
}

/* ------------------------------------------------------------------------ the start */

/* Go's pointer to the program's arguments. NULL: not found. */
static char ***place;
static int argument_count;

/* The function that Go's constructor wants to run on an OS thread. */
static void *(*go_func)(void *);
static void *go_arg;
static bool (*create_os_thread)(void *(*func)(void *), void *arg);
static enum { AWAKE, LOADING, ASLEEP } phase = AWAKE;

/* Returns a copy of the program's arguments, with an environment and an auxiliary vector for Go
   behind them. NULL if there is no memory. */
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
            /* Go uses these bytes as a seed, and clears them. */
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
        /* The C library sends these two to all threads, so Go must keep them unblocked. */
        if (i < C_LIBRARYS_FIRST || i > C_LIBRARYS_LAST) {
            before_go.table[i].flags = 0;
        }
    }
}

/* True if the word had the value before Go's constructor ran. */
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

/* Runs after Go's constructor. */
__attribute__((constructor)) static void after_go_loaded(int argc, char **argv)
{
    if (phase == LOADING && go_func == NULL) {
        /* Go has not asked for an OS thread, so it has begun to start in another way. */
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
