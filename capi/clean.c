/*
 * clean.c - whether a thread has left something on the OS thread that it ran on.
 *
 * A thread must find its OS thread as pthread_create would have given it. What can be set right
 * cheaply is set right by run.c; the rest is only looked at here, and an OS thread on which
 * something is found ends with its thread. It is C because all of it is the C library's own memory:
 * the thread-local storage of each module, which is compared with the image that it began as; the
 * values of pthread keys; the list of C++ destructors. glibc has no calls that tell of the last two
 * quickly, so their places are found at load, each by a value that is put there on purpose. Where
 * one is not found, clean_can_tell is false. run.c and own.c call here.
 *
 * Invariant: in doubt, as for want of memory, an OS thread is not clean.
 */
#define _GNU_SOURCE
#include "clean.h"

#include "os.h"

#if defined(__GLIBC__) && (defined(__x86_64__) || defined(__aarch64__))

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
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

/* ------------------------------------------------------------------------ thread-local storage */

/* An entry of the vector by which a thread finds the block of each module's variables. */
struct block {
    const char *start; /* -1 where the thread has none yet */
    void *to_free;
};

/* The calling thread's vector; the entry before its first tells how long it is. */
static const struct block *blocks(void)
{
#if defined(__x86_64__)
    const struct block *vector;
    __asm__("movq %%fs:8, %0" : "=r"(vector));
    return vector;
#else
    const struct block *const *pointer;
    __asm__("mrs %0, tpidr_el0" : "=r"(pointer));
    return *pointer;
#endif
}

static const char *block_of(size_t module)
{
    const struct block *vector = blocks();
    bool has_entry = module <= (size_t)vector[-1].start;
    return has_entry && vector[module].start != (const char *)-1 ? vector[module].start : NULL;
}

/* A module with thread-local variables: what a block of them begins as. */
struct module {
    size_t number;
    const char *image;
    size_t image_size, size;
    /* The block may have been used although the thread's vector does not know it. */
    bool is_static;
};

/* True where these bytes of the block are as they began. */
static bool is_initial_part(const struct module *module, const char *block, size_t from, size_t to)
{
    size_t edge = module->image_size < from ? from : module->image_size;
    edge = edge < to ? edge : to;
    if (memcmp(block + from, module->image + from, edge - from) != 0) {
        return false;
    }
    /* The rest is zeros. */
    const char *rest = block + edge;
    return edge == to || (*rest == 0 && memcmp(rest, rest + 1, to - edge - 1) == 0);
}

static bool is_initial(const struct module *module)
{
    const char *block = block_of(module->number);
    return block != NULL ? is_initial_part(module, block, 0, module->size) : !module->is_static;
}

/*
 * The module that this library is linked into: the shared library, or a program. In its block are
 * also the variables of Go's runtime and, in a program, those of the rest of it.
 */
static struct module own_module;

/* A part of its block. */
struct part {
    size_t from, to;
};

/* This library's variables. The linker knows where the image of their section is. */
extern const char __start_pythread_variables[] __attribute__((visibility("hidden")));
extern const char __stop_pythread_variables[] __attribute__((visibility("hidden")));
static struct part own_variables;

/* One of them, and how far it is from the begin of the block. */
THREAD_LOCAL char ours;
static size_t ours_offset;

static const char *own_block(void)
{
    return &ours - ours_offset;
}

/* The end of the Go runtime's variable there, a pointer; 0 while nobody knows where it is. */
static atomic_size_t gos_variable_end;

/* Go's variable is never NULL on an OS thread of Go's that runs C. So where there is but one word
   that has changed, it is this. All threads that find it write the same, and relaxed suffices: it
   is a number alone. */
void clean_find_gos_variable(void)
{
    size_t found = 0, count = 0;
    if (!can_tell || atomic_load_explicit(&gos_variable_end, memory_order_relaxed) != 0) {
        return;
    }
    for (size_t i = 0; i + sizeof(void *) <= own_module.size; i += sizeof(void *)) {
        size_t end = i + sizeof(void *);
        bool is_ours = i < own_variables.to && end > own_variables.from;
        if (!is_ours && !is_initial_part(&own_module, own_block(), i, end)) {
            found = end;
            count++;
        }
    }
    if (count == 1) {
        atomic_store_explicit(&gos_variable_end, found, memory_order_relaxed);
    }
}

/* True where the variables in its block that are neither the library's nor Go's are as they began.
 */
static bool own_module_is_initial(void)
{
    const char *block = own_block();
    size_t end = atomic_load_explicit(&gos_variable_end, memory_order_relaxed);
    struct part gos = {end == 0 ? 0 : end - sizeof(void *), end};
    /* Also where it is not known, and both begin at 0. */
    bool gos_is_first = gos.from <= own_variables.from;
    struct part first = gos_is_first ? gos : own_variables;
    struct part second = gos_is_first ? own_variables : gos;
    return is_initial_part(&own_module, block, 0, first.from) &&
           is_initial_part(&own_module, block, first.to, second.from) &&
           is_initial_part(&own_module, block, second.to, own_module.size);
}

/* The modules that are looked at, as of these numbers of loads and unloads. The loader's lock,
   which is held while it calls look_at, guards them. */
enum { MOST_MODULES = 64 };
static struct module modules[MOST_MODULES];
static size_t module_count;
static unsigned long long loads, unloads;
static bool is_complete;

static bool is_within(const void *address, const char *block, size_t size)
{
    return (const char *)address >= block && (const char *)address < block + size;
}

/* True where the module's dynamic section says that its variables are in the static area. */
static bool uses_static_area(const struct dl_phdr_info *info)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC) {
            const ElfW(Dyn) *entry = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
            for (; entry->d_tag != DT_NULL; entry++) {
                if (entry->d_tag == DT_FLAGS) {
                    return (entry->d_un.d_val & DF_STATIC_TLS) != 0;
                }
            }
        }
    }
    return false;
}

/* Where the library is loaded that has malloc. An allocator keeps caches in its variables, which
   nobody else sees. */
static const void *allocator;

/* The C library's block is its own business, and the allocator's. The one with this library's
   variables is looked at by itself. */
static bool is_exempt(const struct dl_phdr_info *info, size_t size)
{
    const char *block = info->dlpi_tls_data;
    return info->dlpi_tls_modid == own_module.number ||
           (block != NULL && is_within(&errno, block, size)) ||
           /* But the program itself, which has other variables too, has no name. */
           (info->dlpi_name[0] != '\0' && (const void *)info->dlpi_addr == allocator);
}

/* False where the module has no thread-local variables. */
static bool describe(const struct dl_phdr_info *info, struct module *module)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type == PT_TLS && header->p_memsz > 0) {
            *module = (struct module){
                .number = info->dlpi_tls_modid,
                .image = (const char *)(info->dlpi_addr + header->p_vaddr),
                .image_size = header->p_filesz,
                .size = header->p_memsz,
                .is_static = uses_static_area(info),
            };
            return true;
        }
    }
    return false;
}

/* Adds the module to the list, if it has variables to look at. False where the list is full. */
static bool add_module(const struct dl_phdr_info *info)
{
    struct module module;
    if (describe(info, &module) && !is_exempt(info, module.size)) {
        if (module_count == MOST_MODULES) {
            return false;
        }
        modules[module_count++] = module;
    }
    return true;
}

/* Gives the block of a module's variables where the calling thread's vector does not have it yet. A
   static C library, where it always has, has no such function. */
extern __attribute__((weak)) void *__tls_get_addr(size_t module_and_offset[2]);

static int find_own_module(struct dl_phdr_info *info, size_t size, void *unused)
{
    struct module module;
    const char *block = info->dlpi_tls_data;
    (void)size;
    (void)unused;
    if (!describe(info, &module) ||
        !is_within(__start_pythread_variables, module.image, module.image_size)) {
        return 0;
    }
    own_module = module;
    own_variables = (struct part){(size_t)(__start_pythread_variables - module.image),
                                  (size_t)(__stop_pythread_variables - module.image)};
    if (block == NULL && __tls_get_addr != NULL) {
        block = __tls_get_addr((size_t[]){module.number, 0});
    }
    ours_offset = (size_t)(&ours - block);
    return ours_offset >= own_variables.from && ours_offset < own_variables.to;
}

struct look {
    bool is_first, lists_modules, is_clean;
};

/* dl_iterate_phdr calls this for each module; a result that is not 0 ends that. The lock that it
   holds keeps the images mapped. */
static int look_at(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct look *look = arg;
    (void)size;
    if (look->is_first) {
        look->is_first = false;
        if (is_complete && info->dlpi_adds == loads && info->dlpi_subs == unloads) {
            for (size_t i = 0; look->is_clean && i < module_count; i++) {
                look->is_clean = is_initial(&modules[i]);
            }
            return 1;
        }
        look->lists_modules = true;
        is_complete = false;
        module_count = 0;
        loads = info->dlpi_adds;
        unloads = info->dlpi_subs;
    }
    size_t before = module_count;
    if (info->dlpi_adds != loads || info->dlpi_subs != unloads || !add_module(info)) {
        look->is_clean = false;
        return 1;
    }
    if (module_count > before) {
        look->is_clean = look->is_clean && is_initial(&modules[before]);
    }
    return 0;
}

/* The list is complete when all modules were called for, and no other thread has begun it anew. */
static int complete(struct dl_phdr_info *info, size_t size, void *count)
{
    (void)size;
    is_complete =
        module_count == *(size_t *)count && info->dlpi_adds == loads && info->dlpi_subs == unloads;
    return 1;
}

static bool has_initial_variables(void)
{
    struct look look = {.is_first = true, .is_clean = true};
    bool went_through = dl_iterate_phdr(look_at, &look) == 0;
    if (look.lists_modules && went_through) {
        size_t count = module_count;
        dl_iterate_phdr(complete, &count);
    }
    return look.is_clean;
}

/* ------------------------------------------------------------------------ keys */

enum { BLOCK_KEYS = 32, KEY_BLOCKS = 32 };

/* What glibc keeps of a key in a thread. */
struct key_value {
    uintptr_t sequence;
    void *value;
};

/* How far the first block of keys is from pthread_self(). The addresses of all blocks follow it. */
static size_t keys_offset;

static struct key_value *first_keys(void)
{
    return (struct key_value *)((char *)pthread_self() + keys_offset);
}

/* The values of the first keys when a thread began: those of Go and of an allocator. */
THREAD_LOCAL void *key_values[BLOCK_KEYS];

static bool is_empty(const struct key_value *keys, const void *ignored)
{
    for (int i = 0; keys != NULL && i < BLOCK_KEYS; i++) {
        if (keys[i].value != NULL && keys[i].value != ignored) {
            return false;
        }
    }
    return true;
}

static bool has_same_keys(const void *ignored)
{
    const struct key_value *keys = first_keys();
    struct key_value *const *blocks_of_keys = (struct key_value *const *)(keys + BLOCK_KEYS);
    for (int i = 0; i < BLOCK_KEYS; i++) {
        if (keys[i].value != key_values[i] && keys[i].value != ignored) {
            return false;
        }
    }
    for (int i = 1; i < KEY_BLOCKS; i++) {
        if (!is_empty(blocks_of_keys[i], ignored)) {
            return false;
        }
    }
    return true;
}

static bool find_keys(void)
{
    enum { DESCRIPTOR = 2304 }; /* no smaller in any glibc */
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
            /* The address of the first block stands where those of the others do. */
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

/* How far the head of the C library's list of destructors is from pthread_self(). */
static intptr_t destructors_offset;

extern __attribute__((weak)) int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
extern __attribute__((visibility("hidden"))) void *__dso_handle;

static void *destructors(void)
{
    return *(void **)((char *)pthread_self() + destructors_offset);
}

static void destroy_nothing(void *unused)
{
    (void)unused;
}

struct range {
    const char *start;
    size_t size;
};

static int find_c_librarys_block(struct dl_phdr_info *info, size_t size, void *range)
{
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_TLS && info->dlpi_tls_data != NULL &&
            is_within(&errno, info->dlpi_tls_data, info->dlpi_phdr[i].p_memsz) &&
            /* Not where both are linked into the program: it has variables in the same block. */
            !is_within(&ours, info->dlpi_tls_data, info->dlpi_phdr[i].p_memsz)) {
            *(struct range *)range =
                (struct range){info->dlpi_tls_data, info->dlpi_phdr[i].p_memsz};
            return 1;
        }
    }
    return 0;
}

/* Registers a destructor, and looks which word of the C library's changes: the head of its list.
   The first time others change as well, in which it remembers who registered. */
static bool find_destructors(void)
{
    enum { MOST = 1024 };
    char before[MOST];
    struct range block = {0};
    size_t found = 0;
    if (__cxa_thread_atexit_impl == NULL || dl_iterate_phdr(find_c_librarys_block, &block) == 0 ||
        block.size > MOST) {
        return false;
    }
    __cxa_thread_atexit_impl(destroy_nothing, NULL, &__dso_handle);
    memcpy(before, block.start, block.size);
    __cxa_thread_atexit_impl(destroy_nothing, NULL, &__dso_handle);
    for (size_t i = -(uintptr_t)block.start % sizeof(void *); i + sizeof(void *) <= block.size;
         i += sizeof(void *)) {
        if (memcmp(before + i, block.start + i, sizeof(void *)) != 0) {
            found++;
            destructors_offset = block.start + i - (const char *)pthread_self();
        }
    }
    return found == 1;
}

/* ------------------------------------------------------------------------ scheduling */

/* What sched_getattr tells: policy, nice value and more. */
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

void clean_restore_scheduling(void)
{
    if (can_tell && !clean_has_initial_scheduling()) {
        syscall(SYS_sched_setattr, 0, &initial_scheduling.attributes, 0);
        syscall(SYS_sched_setaffinity, 0, sizeof initial_scheduling.processors,
                &initial_scheduling.processors);
    }
}

/* ------------------------------------------------------------------------ all of it */

void clean_begin(void)
{
    THREAD_LOCAL bool is_known;
    if (!is_known) {
        is_known = true;
        /* Some allocators set a key when an OS thread first comes to them. */
        free(malloc(1));
    }
    const struct key_value *keys = first_keys();
    for (int i = 0; i < BLOCK_KEYS; i++) {
        key_values[i] = keys[i].value;
    }
}

bool clean_is_clean(const void *ignored)
{
    return destructors() == NULL && has_same_keys(ignored) && own_module_is_initial() &&
           has_initial_variables();
}

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

/* What the thread had when it ended, and those that Go handles: its handler must not run where Go
   has ended the OS thread. */
THREAD_LOCAL sigset_t destructors_mask;

static void set_destructors_mask(void *unused)
{
    (void)unused;
    pthread_sigmask(SIG_SETMASK, &destructors_mask, NULL);
}

void clean_keep_signal_mask(void)
{
    if (can_tell) {
        pthread_sigmask(SIG_BLOCK, NULL, &destructors_mask);
        sigaddset(&destructors_mask, SIGURG);
        sigaddset(&destructors_mask, SIGPIPE);
        __cxa_thread_atexit_impl(set_destructors_mask, NULL, &__dso_handle);
    }
}

/* Before reuse.c's constructor. */
__attribute__((constructor(103))) static void at_load(void)
{
    find_allocator();
    can_tell = dl_iterate_phdr(find_own_module, NULL) == 1 && find_keys() && find_destructors() &&
               get_scheduling(&initial_scheduling);
}

#else

bool clean_can_tell(void)
{
    return false;
}

void clean_keep_signal_mask(void)
{
}

void clean_find_gos_variable(void)
{
}

void clean_begin(void)
{
}

bool clean_is_clean(const void *ignored)
{
    (void)ignored;
    return true;
}

bool clean_has_initial_scheduling(void)
{
    return true;
}

void clean_restore_scheduling(void)
{
}

#endif
