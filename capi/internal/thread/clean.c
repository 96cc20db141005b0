/*
 * clean.c - finds out whether a thread has left something on its OS thread.
 *
 * A thread must find its OS thread as pthread_create would give it. trampoline.c restores what is
 * cheap to restore. This file checks the rest: thread-local variables, the values of pthread keys,
 * and the list of C++ destructors. An OS thread on which a thread left something ends with the
 * thread. All this is memory of the C library, and glibc has no fast functions for it. So this file
 * finds the places of that memory at load. If it does not find one, clean_can_tell is false.
 *
 * Invariants: in doubt an OS thread is not clean. After load nothing here takes a lock of the
 * loader. The holder of such a lock may wait for a thread that begins or ends: a constructor that
 * dlopen runs, or a function that dl_iterate_phdr calls.
 *
 * Callers: go_threads.c, own_os_thread.c, reuse.c, trampoline.c.
 */
#define _GNU_SOURCE
#include "clean.h"

#include "system/os.h"

#if defined(__GLIBC__) && (defined(__x86_64__) || defined(__aarch64__))

#include <dlfcn.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool can_tell;

bool clean_can_tell(void)
{
    return can_tell;
}

/* Finds a function or variable of the C library that is meant for debuggers and sanitizers. */
static bool find_symbol(const char *name, void *pointer)
{
    void *found = dlsym(RTLD_DEFAULT, name);
    memcpy(pointer, &found, sizeof found);
    return found != NULL;
}

/* ------------------------------------------------------------------------ thread-local variables
 *
 * The variables of a module are in one of two places.
 *
 * Each thread has a static area beside its thread pointer. The area has the variables of the
 * modules that the program starts with, and of later modules if there is room. clean_begin and
 * clean_is_clean compare a hash of the whole area. So they also see the variables of a module that
 * is loaded while the thread runs.
 *
 * For other variables the C library makes a block when a thread first uses them, and finds the
 * block by a vector. clean_drop_blocks frees these blocks, and the next thread that uses the
 * variables gets new ones.
 */

/* An entry of the vector. */
struct block {
    const char *start; /* NULL or -1: the thread has no such block */
    void *to_free;     /* NULL: the block is in the static area */
};

/* The place of the pointer to the vector, in words from the thread pointer. */
#if defined(__x86_64__)
enum { VECTOR = 1 };
#else
enum { VECTOR = 0 };
#endif

static char *thread_pointer(void)
{
#if defined(__x86_64__)
    return (char *)pthread_self();
#else
    char *pointer;
    __asm__("mrs %0, tpidr_el0" : "=r"(pointer));
    return pointer;
#endif
}

/* A thread's static area: the distance of its beginning from the thread pointer, and its size. */
static struct {
    ptrdiff_t distance;
    size_t size;
} area;

static const char *own_area(void)
{
    return thread_pointer() + area.distance;
}

/* Versions before MINOR_VERSION have no to_free in the vector. */
static bool find_area(void)
{
    enum { MINOR_VERSION = 25 };
    void (*get_size)(size_t *, size_t *);
    const char *minor = strchr(gnu_get_libc_version(), '.');
    size_t size, alignment;
    if (minor == NULL || atoi(minor + 1) < MINOR_VERSION ||
        !find_symbol("_dl_get_tls_static_info", &get_size)) {
        return false;
    }
    get_size(&size, &alignment);
#if defined(__x86_64__)
    /* The area is below the thread pointer. The size includes the descriptor above it. */
    const uint32_t *descriptor;
    if (!find_symbol("_thread_db_sizeof_pthread", &descriptor) || *descriptor >= size) {
        return false;
    }
    area.size = size - *descriptor;
    area.distance = -(ptrdiff_t)area.size;
#else
    /* The area is above two words at the thread pointer, which the size includes. */
    area.distance = 2 * sizeof(void *);
    area.size = size - 2 * sizeof(void *);
#endif
    return true;
}

/* A part of the area, in bytes from its beginning. */
struct part {
    size_t from, to;
};

/* The part at this address. Empty if the address is not in the area. */
static struct part part_at(const char *address, size_t size)
{
    size_t from = (uintptr_t)address - (uintptr_t)own_area();
    bool is_there = from <= area.size && size <= area.size - from;
    return is_there ? (struct part){from, from + size} : (struct part){0, 0};
}

/*
 * The parts that do not count, in order of address. They have the variables of the C library, of
 * this library and of the library with malloc, whose caches no program sees. One more part has what
 * the kernel writes.
 */
enum { MOST_EXEMPT = 4 };
static struct part exempt[MOST_EXEMPT];
static size_t exempt_count;

static void exempt_part(struct part part)
{
    size_t i = exempt_count;
    if (part.from == part.to || exempt_count == MOST_EXEMPT) {
        return;
    }
    for (; i > 0 && exempt[i - 1].from > part.from; i--) {
        exempt[i] = exempt[i - 1];
    }
    exempt[i] = part;
    exempt_count++;
}

/*
 * The variables of the module that this library is linked into: the shared library, or a program.
 * One of them is a pointer of the Go runtime. In a program, the program's own variables are there
 * too.
 */
static struct part own_module;
static const char *own_image;
static size_t own_image_size;

/* The image of this library's variables. The linker defines both. */
extern const char __start_pythread_variables[] __attribute__((visibility("hidden")));
extern const char __stop_pythread_variables[] __attribute__((visibility("hidden")));

/* The end of Go's variable; 0 while its place is not known. */
static atomic_size_t gos_variable_end;

/* An odd number that looks random. */
static uint64_t factor_at(uint64_t place)
{
    place *= 0x9e3779b97f4a7c15;
    place ^= place >> 32;
    return place * 0xd6e8feb86659fd93 | 1;
}

/*
 * The hash of a part of the calling thread's area: the sum of its words, each times a factor for
 * its place. So a change of one word changes the hash. A change of several words fails to change it
 * once in 2^63.
 */
static uint64_t hash_of_part(size_t from, size_t to)
{
    const char *bytes = own_area();
    uint64_t hash = 0, word = 0;
    for (; from + sizeof word <= to; from += sizeof word) {
        memcpy(&word, bytes + from, sizeof word);
        if (word != 0) {
            hash += word * factor_at(from);
        }
    }
    word = 0;
    memcpy(&word, bytes + from, to - from);
    return hash + word * factor_at(from);
}

/* The same without Go's variable. */
static uint64_t hash_for_c(size_t from, size_t to)
{
    size_t end = atomic_load_explicit(&gos_variable_end, memory_order_relaxed);
    return end <= from || end > to
               ? hash_of_part(from, to)
               : hash_of_part(from, end - sizeof(void *)) + hash_of_part(end, to);
}

static uint64_t hash_of_area(void)
{
    uint64_t hash = 0;
    size_t from = 0;
    for (size_t i = 0; i < exempt_count; i++) {
        hash += hash_for_c(from, exempt[i].from);
        from = exempt[i].to;
    }
    hash += hash_for_c(from, area.size);
    return hash != 0 ? hash : 1;
}

static bool is_exempt(size_t from, size_t to)
{
    for (size_t i = 0; i < exempt_count; i++) {
        if (from < exempt[i].to && to > exempt[i].from) {
            return true;
        }
    }
    return false;
}

/* True if a word of this library's module has its initial value. */
static bool is_initial(size_t at)
{
    uint64_t word, image = 0;
    size_t offset = at - own_module.from;
    if (offset < own_image_size) {
        size_t left = own_image_size - offset;
        memcpy(&image, own_image + offset, left < sizeof image ? left : sizeof image);
    }
    memcpy(&word, own_area() + at, sizeof word);
    return word == image;
}

/* On an OS thread of Go that runs C, Go's variable is not NULL. So if only one word has changed,
   this is Go's variable. All threads that find it store the same number. Relaxed: the number
   publishes no other memory. */
void clean_find_gos_variable(void)
{
    size_t found = 0, count = 0;
    if (!can_tell || atomic_load_explicit(&gos_variable_end, memory_order_relaxed) != 0) {
        return;
    }
    for (size_t i = own_module.from; i + sizeof(uint64_t) <= own_module.to; i += sizeof(uint64_t)) {
        if (!is_exempt(i, i + sizeof(uint64_t)) && !is_initial(i)) {
            found = i + sizeof(uint64_t);
            count++;
        }
    }
    if (count == 1) {
        atomic_store_explicit(&gos_variable_end, found, memory_order_relaxed);
    }
}

void clean_drop_blocks(void)
{
    struct block *vector = ((struct block **)thread_pointer())[VECTOR];
    /* The entry before the first has the number of entries. */
    size_t count = (size_t)vector[-1].start;
    for (size_t i = 1; i <= count; i++) {
        void *to_free = vector[i].to_free;
        if (to_free != NULL) {
            vector[i] = (struct block){(const char *)-1, NULL};
            /* A signal handler that uses the variables from now on gets a new block. */
            atomic_signal_fence(memory_order_seq_cst);
            free(to_free);
        }
    }
}

/* ---- at load ---- */

static bool is_within(const void *address, const char *start, size_t size)
{
    return (const char *)address >= start && (const char *)address < start + size;
}

/* The address at which the library with malloc is loaded. */
static const void *allocator;

static void find_allocator(void)
{
    Dl_info info;
    void *(*function)(size_t) = malloc;
    void *address;
    memcpy(&address, &function, sizeof address);
    if (dladdr(address, &info) != 0) {
        allocator = info.dli_fbase;
    }
}

/* The C library's variables. */
static struct part c_library;

/* Returns the block of a module's variables, and makes it if the calling thread has none. A static
   C library has no such function, because there every thread has all blocks. */
extern __attribute__((weak)) void *__tls_get_addr(size_t module_and_offset[2]);

/* Notes the place of a module's variables, if they are in the static area. */
static void see_variables(const struct dl_phdr_info *info, int number)
{
    const ElfW(Phdr) *header = &info->dlpi_phdr[number];
    const char *image = (const char *)(info->dlpi_addr + header->p_vaddr);
    const char *block = info->dlpi_tls_data;
    bool is_own = is_within(__start_pythread_variables, image, header->p_filesz);
    if (is_own && block == NULL && __tls_get_addr != NULL) {
        block = __tls_get_addr((size_t[]){info->dlpi_tls_modid, 0});
    }
    struct part part = part_at(block, header->p_memsz);
    if (part.from == part.to) {
        return;
    }
    if (is_own) {
        own_module = part;
        own_image = image;
        own_image_size = header->p_filesz;
        exempt_part((struct part){part.from + (size_t)(__start_pythread_variables - image),
                                  part.from + (size_t)(__stop_pythread_variables - image)});
    } else if (is_within(&errno, block, header->p_memsz)) {
        c_library = part;
        exempt_part(part);
    } else if (info->dlpi_name[0] != '\0' && (const void *)info->dlpi_addr == allocator) {
        /* The program has no name. It has other variables too, which count. */
        exempt_part(part);
    }
}

/* dl_iterate_phdr calls this for each module. */
static int see_module(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_TLS && info->dlpi_phdr[i].p_memsz > 0) {
            see_variables(info, i);
        }
    }
    return 0;
}

/* The kernel writes the number of the thread's processor here, since glibc 2.41 in the area. */
extern __attribute__((weak)) const ptrdiff_t __rseq_offset;
extern __attribute__((weak)) const unsigned __rseq_size;

/* False also if the C library and this library are linked into a program, and share a block. */
static bool find_variables(void)
{
    enum { LEAST_RSEQ_SIZE = 32 };
    if (!find_area()) {
        return false;
    }
    if (&__rseq_offset != NULL) {
        size_t size = __rseq_size > LEAST_RSEQ_SIZE ? __rseq_size : LEAST_RSEQ_SIZE;
        exempt_part(part_at(thread_pointer() + __rseq_offset, size));
    }
    find_allocator();
    dl_iterate_phdr(see_module, NULL);
    return own_module.to != 0 && c_library.to != 0;
}

/* ------------------------------------------------------------------------ keys */

enum { BLOCK_KEYS = 32, KEY_BLOCKS = 32 };

/* A thread's value of a key, as glibc keeps it. */
struct key_value {
    uintptr_t sequence;
    void *value;
};

/* The distance of the first block of keys from pthread_self(). An array of pointers to all blocks
   follows it. */
static size_t keys_offset;

static struct key_value *first_keys(void)
{
    return (struct key_value *)((char *)pthread_self() + keys_offset);
}

static uint32_t keys_with_values(const struct key_value *keys, const void *ignored)
{
    uint32_t found = 0;
    for (int i = 0; keys != NULL && i < BLOCK_KEYS; i++) {
        bool has_value = keys[i].value != NULL && keys[i].value != ignored;
        found |= (uint32_t)has_value << i;
    }
    return found;
}

/* Keys that had a value when the thread began belong to Go or to an allocator. Their later values
   do not count. */
static bool has_same_keys(uint32_t given_keys, const void *ignored)
{
    const struct key_value *keys = first_keys();
    struct key_value *const *blocks_of_keys = (struct key_value *const *)(keys + BLOCK_KEYS);
    if ((keys_with_values(keys, ignored) & ~given_keys) != 0) {
        return false;
    }
    for (int i = 1; i < KEY_BLOCKS; i++) {
        if (keys_with_values(blocks_of_keys[i], ignored) != 0) {
            return false;
        }
    }
    return true;
}

static bool find_keys(void)
{
    enum { DESCRIPTOR = 2304 }; /* the least size of a descriptor in any glibc */
    pthread_key_t key;
    char *self = (char *)pthread_self();
    bool found = false;
    if (pthread_key_create(&key, NULL) != 0) {
        return false;
    }
    pthread_setspecific(key, &key);
    for (size_t i = 0; !found && key < BLOCK_KEYS && i + sizeof(void *) <= DESCRIPTOR;
         i += sizeof(void *)) {
        size_t before = offsetof(struct key_value, value) + key * sizeof(struct key_value);
        if (*(void **)(self + i) == &key && i >= before) {
            char *keys = self + i - before;
            /* The array of pointers after the block begins with the block's own address. */
            found = i - before + BLOCK_KEYS * sizeof(struct key_value) < DESCRIPTOR &&
                    *(char **)(keys + BLOCK_KEYS * sizeof(struct key_value)) == keys;
            keys_offset = i - before;
        }
    }
    pthread_setspecific(key, NULL);
    pthread_key_delete(key);
    return found;
}

/* ------------------------------------------------------------------------ destructors */

/* The distance of the head of the C library's list of destructors from pthread_self(). */
static intptr_t destructors_offset;

extern __attribute__((weak)) int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
extern __attribute__((visibility("hidden"))) void *__dso_handle;

/* The C library calls this function when a pthread ends. */
static void (*call_destructors)(void);

static void *destructors(void)
{
    return *(void **)((char *)pthread_self() + destructors_offset);
}

void clean_run_destructors(void)
{
    if (can_tell && destructors() != NULL) {
        call_destructors();
    }
}

static void destroy_nothing(void *unused)
{
    (void)unused;
}

/* Finds the head of the list: the word of the C library's variables that changes when a destructor
   is registered. The first time other words change too, so this compares before and after the
   second. */
static bool find_destructors(void)
{
    enum { MOST = 1024 };
    char before[MOST];
    const char *block = own_area() + c_library.from;
    size_t size = c_library.to - c_library.from, found = 0;
    if (__cxa_thread_atexit_impl == NULL || size > MOST ||
        !find_symbol("__call_tls_dtors", &call_destructors)) {
        return false;
    }
    __cxa_thread_atexit_impl(destroy_nothing, NULL, &__dso_handle);
    memcpy(before, block, size);
    __cxa_thread_atexit_impl(destroy_nothing, NULL, &__dso_handle);
    for (size_t i = -(uintptr_t)block % sizeof(void *); i + sizeof(void *) <= size;
         i += sizeof(void *)) {
        if (memcmp(before + i, block + i, sizeof(void *)) != 0) {
            found++;
            destructors_offset = block + i - (const char *)pthread_self();
        }
    }
    return found == 1;
}

/* ------------------------------------------------------------------------ scheduling */

/* The result of sched_getattr: policy, nice value and more. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t deadline[3];
    uint32_t utilization[2];
};

struct scheduling {
    struct attributes attributes;
    cpu_set_t processors;
};

static struct scheduling initial_scheduling;

static bool get_scheduling(struct scheduling *scheduling)
{
    int saved = errno;
    memset(scheduling, 0, sizeof *scheduling);
    bool got = syscall(SYS_sched_getattr, 0, &scheduling->attributes, sizeof scheduling->attributes,
                       0) == 0 &&
               syscall(SYS_sched_getaffinity, 0, sizeof scheduling->processors,
                       &scheduling->processors) > 0;
    errno = saved;
    return got;
}

bool clean_has_initial_scheduling(void)
{
    struct scheduling now;
    return get_scheduling(&now) && memcmp(&now, &initial_scheduling, sizeof now) == 0;
}

/* An OS thread of Go has another scheduling, which could not be changed. */
static atomic_bool scheduling_is_mixed;

void clean_restore_scheduling(void)
{
    if (can_tell && !clean_has_initial_scheduling()) {
        syscall(SYS_sched_setattr, 0, &initial_scheduling.attributes, 0);
        syscall(SYS_sched_setaffinity, 0, sizeof initial_scheduling.processors,
                &initial_scheduling.processors);
        if (!clean_has_initial_scheduling()) {
            /* Relaxed: this only selects how threads start, and publishes no other memory. */
            atomic_store_explicit(&scheduling_is_mixed, true, memory_order_relaxed);
        }
    }
}

bool clean_scheduling_is_mixed(void)
{
    return atomic_load_explicit(&scheduling_is_mixed, memory_order_relaxed);
}

/* ------------------------------------------------------------------------ all of it */

void clean_begin(struct clean_mark *mark)
{
    if (can_tell) {
        mark->keys = keys_with_values(first_keys(), NULL);
        mark->variables = hash_of_area();
    }
}

bool clean_is_clean(const struct clean_mark *mark, const void *ignored)
{
    return can_tell && destructors() == NULL && has_same_keys(mark->keys, ignored) &&
           hash_of_area() == mark->variables;
}

/* Runs before the constructor of reuse.c. */
__attribute__((constructor(103))) static void at_load(void)
{
    can_tell = find_variables() && find_keys() && find_destructors() &&
               get_scheduling(&initial_scheduling);
}

#else

bool clean_can_tell(void)
{
    return false;
}

void clean_find_gos_variable(void)
{
}

void clean_begin(struct clean_mark *mark)
{
    (void)mark;
}

void clean_run_destructors(void)
{
}

bool clean_is_clean(const struct clean_mark *mark, const void *ignored)
{
    (void)mark;
    (void)ignored;
    return false;
}

void clean_drop_blocks(void)
{
}

bool clean_has_initial_scheduling(void)
{
    return false;
}

void clean_restore_scheduling(void)
{
}

bool clean_scheduling_is_mixed(void)
{
    return false;
}

#endif
