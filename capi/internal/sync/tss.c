/*
 * tss.c - thread-specific storage: the keys of the process, and the values that each thread keeps
 * under them.
 *
 * It is C because a C caller expects a value to cost a nanosecond, because a signal handler may
 * read one, and because storage works in the child of a fork. thread.c's floor, trampoline.c and
 * forked.c call it.
 *
 * A key is an id and a generation. An id is given out again after its key is deleted, with a higher
 * generation, so that each use of the id is another key. The values of a thread stand in a table of
 * the thread's own, which no other thread touches, each with the key that it was set under. So the
 * deletion of a key has nothing to clear in any thread: what threads still hold under its id has an
 * older generation, and counts as nothing.
 *
 * Invariant: a pair of id and odd generation is one key, for ever. There is no lock, and memory is
 * valid after every single step: the child of a fork goes on from wherever the threads were that it
 * does not have, and loses at most the one id that each of them was just taking or giving back.
 */
#include "tss.h"

#include "pythread.h"

#include "system/os.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Zeroed memory, or NULL with errno as it was. The call goes through a volatile pointer because
   clang believes that calloc never changes errno, and would leave out the line that restores it. */
static void *allocate(size_t count, size_t size)
{
    static void *(*const volatile opaque)(size_t, size_t) = calloc;
    int saved = errno;
    void *memory = opaque(count, size);
    errno = saved;
    return memory;
}

/* ------------------------------------------------------------------------
 * Keys
 * --------------------------------------------------------------------- */

/*
 * What the process knows of an id. The generation is odd while a key has the id, and even while the
 * id is free. It grows by one with each create and each delete. An id whose generation has come
 * round to 0 is used up and is never given out again.
 */
struct slot {
    atomic_uint generation;
    atomic_uint below; /* while free: the next id in the stack of free ids, 0 at its end */
};

/* Slots stand in blocks, each twice as large as the one before. A block never moves, so a slot is
   reached without a lock. The first block is static: few programs need another. */
enum { FIRST_BITS = 10, BLOCKS = 32 - FIRST_BITS };
static struct slot first_block[1u << FIRST_BITS];
static _Atomic(struct slot *) blocks[BLOCKS] = {first_block};

/* The ids from 1 to newest_id have been given out at least once. The largest is INT_MAX. */
static atomic_uint newest_id;

/*
 * The stack of free ids: the lower half is the id on its top, the upper half is the generation of
 * that id. An id is pushed once in each generation. So a top that a thread finds unchanged is the
 * same push, still in place, with the same ids below it: the exchange that pops an id cannot take a
 * later push of the same id for the one that it read.
 */
static _Atomic uint64_t free_top;

static uint64_t stack_top(unsigned id, unsigned generation)
{
    return (uint64_t)generation << 32 | id;
}

/* The place of the block that has the slot of an id (1 to INT_MAX); the slot's index in it. */
static inline _Atomic(struct slot *) *find_block(unsigned id, unsigned *index)
{
    unsigned position = id - 1 + (1u << FIRST_BITS);
    unsigned bits = 31 - (unsigned)__builtin_clz(position);
    *index = position - (1u << bits);
    return &blocks[bits - FIRST_BITS];
}

/* The slot of an id; NULL for an id that has no slot yet. */
static inline struct slot *find_slot(unsigned id)
{
    unsigned index;
    if (id - 1 >= INT_MAX) {
        return NULL;
    }
    /* Acquire: pairs with the exchange in make_slot, so that the slots are seen zeroed. */
    struct slot *block = atomic_load_explicit(find_block(id, &index), memory_order_acquire);
    return block == NULL ? NULL : &block[index];
}

/* The slot of an id, whose block is allocated if need be. NULL: no memory, or the id is too large.
 */
static struct slot *make_slot(unsigned id)
{
    struct slot *slot = find_slot(id);
    if (slot != NULL || id > INT_MAX) {
        return slot;
    }
    unsigned index;
    _Atomic(struct slot *) *place = find_block(id, &index);
    size_t size = (size_t)1 << (place - blocks + FIRST_BITS);
    struct slot *block = NULL, *made = allocate(size, sizeof *made);
    if (made == NULL) {
        return NULL;
    }
    if (atomic_compare_exchange_strong_explicit(place, &block, made, memory_order_release,
                                                memory_order_acquire)) {
        return &made[index];
    }
    free(made);
    return &block[index];
}

/* The generation of an id: odd while a key has the id, 0 for an id that no key ever had. Relaxed:
   callers compare the number and read nothing else because of it. */
static inline unsigned current_generation(unsigned id)
{
    struct slot *slot = find_slot(id);
    return slot == NULL ? 0 : atomic_load_explicit(&slot->generation, memory_order_relaxed);
}

/* Takes a free id and begins its next generation, which makes a new key. 0: no memory or no id. */
static unsigned take_id(void)
{
    /* Acquire, here and where the exchange fails: it pairs with the release of the push. The stack
       changes by exchanges alone, so everything written before any earlier push is seen too: the
       slots of all ids in the stack are as their pushes left them. */
    uint64_t top = atomic_load_explicit(&free_top, memory_order_acquire);
    while (top != 0) {
        unsigned id = (unsigned)top;
        struct slot *slot = find_slot(id);
        unsigned below = atomic_load_explicit(&slot->below, memory_order_relaxed);
        if (atomic_compare_exchange_weak_explicit(&free_top, &top,
                                                  stack_top(below, current_generation(below)),
                                                  memory_order_acquire, memory_order_acquire)) {
            /* Relaxed: nobody else has the id, and the caller publishes both together. */
            atomic_store_explicit(&slot->generation, (unsigned)(top >> 32) + 1,
                                  memory_order_relaxed);
            return id;
        }
    }
    unsigned last = atomic_load_explicit(&newest_id, memory_order_relaxed);
    struct slot *slot;
    do {
        /* The slot comes first: an id that was taken without a slot could not be given back. */
        slot = make_slot(last + 1);
        if (slot == NULL) {
            return 0;
        }
    } while (!atomic_compare_exchange_weak_explicit(&newest_id, &last, last + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    atomic_store_explicit(&slot->generation, 1, memory_order_relaxed);
    return last + 1;
}

/* Ends a key and gives its id back. Does nothing if there is no such key any more. */
static void give_id(unsigned id, unsigned generation)
{
    struct slot *slot = find_slot(id);
    /* Of several threads that delete one key at once, the exchange lets one push the id. */
    if (slot == NULL || generation % 2 == 0 ||
        !atomic_compare_exchange_strong_explicit(&slot->generation, &generation, generation + 1,
                                                 memory_order_relaxed, memory_order_relaxed)) {
        return;
    }
    generation++;
    if (generation == 0) {
        return; /* The id is used up: its next keys would be the same as its first ones. */
    }
    uint64_t top = atomic_load_explicit(&free_top, memory_order_relaxed);
    do {
        atomic_store_explicit(&slot->below, (unsigned)top, memory_order_relaxed);
        /* Release: pairs with the acquire in take_id. */
    } while (!atomic_compare_exchange_weak_explicit(&free_top, &top, stack_top(id, generation),
                                                    memory_order_release, memory_order_relaxed));
}

/* ------------------------------------------------------------------------
 * Values
 * --------------------------------------------------------------------- */

/* A value and the key that it was set under; all zero in a free entry. */
struct entry {
    unsigned id, generation;
    void *value;
};

/* A thread's values: a hash table by id. There is always a free entry, so that a search ends. */
struct table {
    size_t mask; /* the number of entries, a power of two, less one */
    size_t used; /* how many entries are not free, also those of deleted keys */
    struct entry entries[];
};

/* The entries of a thread's first table. */
enum { FEW = 4 };

/* Tables for threads that have none: each search ends in their one entry, which is free. */
union empty_table {
    struct table table;
    char memory[sizeof(struct table) + sizeof(struct entry)];
};

/*
 * A thread begins with the table `nothing`, which all threads share and which has no room for a
 * value. Its first value moves it to a first table, more values to a larger one on the heap. So of
 * the memory that the C library has for the variables of all modules it takes one pointer. After
 * the last of its destructors an OS thread has the table `closed`, which takes no value any more.
 *
 * A signal handler may read values, as crash reporters do. So one pointer leads to the whole table,
 * and the pointer changes after the new table is ready and before the old one is freed.
 */
static union empty_table nothing, closed;
THREAD_LOCAL struct table *_Atomic own = &nothing.table;

/* Relaxed here, and release below: only the thread and its own signal handlers use the pointer, so
   it is enough to keep the compiler from changing the order. */
static inline struct table *own_table(void)
{
    return atomic_load_explicit(&own, memory_order_relaxed);
}

static void set_own_table(struct table *table)
{
    atomic_store_explicit(&own, table, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
}

/*
 * The entry of an id, or the free entry where it belongs. Ids are dense, so the first place to look
 * is the id itself: a thread that uses all keys has its values side by side and never looks twice.
 * Ids that collide get their upper bits mixed in, five with each step; after the last of these bits
 * the probe visits every entry.
 */
static inline struct entry *find_entry(struct table *table, unsigned id)
{
    size_t probe = id, upper = id;
    for (;;) {
        struct entry *entry = &table->entries[probe & table->mask];
        if (entry->id == id || entry->id == 0) {
            return entry;
        }
        upper >>= 5;
        probe = 5 * probe + upper + 1;
    }
}

/* With an even generation, which no key has, the result is NULL: at most a free entry matches. */
static inline void *get_value(unsigned id, unsigned generation)
{
    const struct entry *entry = find_entry(own_table(), id);
    return entry->generation == generation ? entry->value : NULL;
}

static bool has_room(const struct table *table)
{
    return table != &nothing.table && table != &closed.table;
}

/*
 * First tables, for as many threads at once; those of others are on the heap. They need no call of
 * malloc. That would make a heap for a new OS thread, and could wait for ever in the child of a
 * fork that the C library was not told of.
 */
enum { FIRST_TABLES = 256 };
static struct first_table {
    _Alignas(64) char memory[sizeof(struct table) + FEW * sizeof(struct entry)];
    atomic_bool is_taken;
} first_tables[FIRST_TABLES];

/* Takes a first table, empty; NULL if none is found quickly. Each OS thread looks first where it
   looked before. */
static struct table *take_first_table(void)
{
    enum { TRIES = 8 };
    /* Stacks are apart by a multiple of a page; the upper bits of the product depend on all. */
    unsigned first = (unsigned)((uint64_t)(os_self() >> 12) * 0x9e3779b97f4a7c15 >> 32);
    for (unsigned i = 0; i < TRIES; i++) {
        struct first_table *found = &first_tables[(first + i) % FIRST_TABLES];
        /* Acquire: the last owner's writes happen before those of the caller. */
        if (!atomic_exchange_explicit(&found->is_taken, true, memory_order_acquire)) {
            memset(found->memory, 0, sizeof found->memory);
            return (struct table *)found->memory;
        }
    }
    return NULL;
}

static struct table *new_table(size_t size)
{
    struct table *table = size == FEW ? take_first_table() : NULL;
    return table != NULL ? table : allocate(1, sizeof *table + size * sizeof(struct entry));
}

/* Frees a table that has room, or NULL. */
static void drop_table(struct table *table)
{
    struct first_table *first = (struct first_table *)table;
    if (first >= first_tables && first < first_tables + FIRST_TABLES) {
        /* Release: pairs with take_first_table. */
        atomic_store_explicit(&first->is_taken, false, memory_order_release);
    } else {
        free(table);
    }
}

/*
 * The system's key whose destructor frees tables, plus 1; 0 while there is none. An OS thread that
 * has got a table has a value there, which tells how often the destructor has run.
 */
static _Atomic(os_key) exit_key;
static const char rounds[OS_KEY_ROUNDS];

const void *tss_key_value(void)
{
    return rounds;
}

/* Relaxed, here and below: only the number matters, and the system's calls order the rest. */
static os_key known_exit_key(void)
{
    return atomic_load_explicit(&exit_key, memory_order_relaxed);
}

static bool set_exit_value(const char *value)
{
    return os_key_set(known_exit_key() - 1, (void *)(uintptr_t)value);
}

static void free_table(void)
{
    struct table *table = own_table();
    if (has_room(table)) {
        set_own_table(&nothing.table);
        drop_table(table);
    }
}

void tss_thread_end(void)
{
    struct table *table = own_table();
    if (has_room(table) && table->mask == FEW - 1 && known_exit_key() != 0) {
        /* The next thread on this OS thread finds its first table there. */
        table->used = 0;
        memset(table->entries, 0, FEW * sizeof(struct entry));
    } else if (has_room(table)) {
        free_table();
        if (known_exit_key() != 0) {
            set_exit_value(NULL);
        }
    }
}

void tss_swap(struct tss_values *values)
{
    struct table *table = own_table();
    set_own_table(values->table != NULL ? values->table : &nothing.table);
    values->table = has_room(table) ? table : NULL;
}

void tss_drop(struct tss_values *values)
{
    drop_table(values->table);
    values->table = NULL;
}

/*
 * Runs when an OS thread ends that has got a table, in each of the rounds in which the system runs
 * destructors. Those of the program may set values after it has run, which it frees in the next
 * round. After the last round nobody would free a table, so make_room makes none.
 */
static void OS_KEY_DESTROY end_os_thread(void *value)
{
    const char *next = (const char *)value + 1;
    free_table();
    if (next == rounds + OS_KEY_ROUNDS || !set_exit_value(next)) {
        set_own_table(&closed.table);
    }
}

/* Makes the key, unless there is one. False where the system has none left. */
static bool has_exit_key(void)
{
    os_key made, none = 0;
    if (known_exit_key() == 0) {
        if (!os_key_create(&made, end_os_thread)) {
            return false;
        }
        if (!atomic_compare_exchange_strong_explicit(&exit_key, &none, made + 1,
                                                     memory_order_relaxed, memory_order_relaxed)) {
            os_key_delete(made);
        }
    }
    return true;
}

/*
 * Has the calling OS thread run end_os_thread when it ends. False if there is no memory. Without a
 * key left in the system a thread gets its first table alone. Where it is no thread of the
 * library's, the memory of that is lost.
 */
static bool watch_os_thread(void)
{
    if (!has_exit_key()) {
        return own_table() == &nothing.table;
    }
    /* What is there may be of a later round. */
    return os_key_get(known_exit_key() - 1) != NULL || set_exit_value(rounds);
}

/* True for an entry whose value can still be read: its key has not been deleted. */
static bool is_in_use(const struct entry *entry)
{
    return entry->value != NULL && entry->generation == current_generation(entry->id);
}

/* Gives the thread a table with room for twice the values in use. False if there is no memory; then
   nothing has changed. */
static bool make_room(void)
{
    struct table *old = own_table();
    size_t in_use = 0, size = FEW;
    if (old == &closed.table) {
        return false;
    }
    for (size_t i = 0; i <= old->mask; i++) {
        in_use += is_in_use(&old->entries[i]);
    }
    while (size < 2 * (in_use + 1)) {
        size *= 2;
    }
    struct table *table = new_table(size);
    if (table == NULL || !watch_os_thread()) {
        drop_table(table);
        return false;
    }
    table->mask = size - 1;
    for (size_t i = 0; i <= old->mask; i++) {
        /* A second look finds no more than the first: a deleted key stays deleted. */
        if (is_in_use(&old->entries[i])) {
            *find_entry(table, old->entries[i].id) = old->entries[i];
            table->used++;
        }
    }
    set_own_table(table);
    if (has_room(old)) {
        drop_table(old);
    }
    return true;
}

/* Sets a value of a key that there is. -1 if there is no memory. */
static int set_value(unsigned id, unsigned generation, void *value)
{
    struct table *table = own_table();
    struct entry *entry = find_entry(table, id);
    if (entry->id == 0) {
        if (value == NULL) {
            return 0; /* There is no value, which reads as NULL. */
        }
        /* At most three quarters full, so that searches stay short. */
        if (table->used >= table->mask - table->mask / 4) {
            if (!make_room()) {
                return -1;
            }
            table = own_table();
            entry = find_entry(table, id);
        }
        table->used++;
    }
    entry->value = value;
    /* The key comes last: under it a signal handler finds either nothing or the value. */
    atomic_signal_fence(memory_order_release);
    entry->generation = generation;
    entry->id = id;
    return 0;
}

/* ------------------------------------------------------------------------
 * Py_tss_t: _is_initialized is the id, _key the generation
 *
 * The id alone says whether the key is created. Of several threads that create it at once, the
 * exchange that replaces 0 by an id decides. The generation follows from the id. A generation of 0
 * has not been copied from the slot yet: any thread may copy it, since the creator of the key may
 * be late or, in the child of a fork, gone. The header declares plain fields, so builtins make the
 * accesses atomic.
 * --------------------------------------------------------------------- */

/* Acquire: pairs with the exchange in PyThread_tss_create. A thread that sees the id also sees the
   slot and the generation in it. */
static inline unsigned key_id(const Py_tss_t *key)
{
    return (unsigned)__atomic_load_n(&key->_is_initialized, __ATOMIC_ACQUIRE);
}

/* Copies the generation into the key. Relaxed: every thread that writes it writes the same. */
static unsigned copy_generation(Py_tss_t *key, unsigned id)
{
    unsigned generation = current_generation(id);
    if (id != 0) {
        __atomic_store_n(&key->_key, generation, __ATOMIC_RELAXED);
    }
    return generation;
}

static inline unsigned raw_generation(const Py_tss_t *key)
{
    return (unsigned)__atomic_load_n(&key->_key, __ATOMIC_RELAXED);
}

static unsigned key_generation(Py_tss_t *key, unsigned id)
{
    unsigned generation = raw_generation(key);
    return generation != 0 ? generation : copy_generation(key, id);
}

Py_tss_t *PyThread_tss_alloc(void)
{
    return allocate(1, sizeof(Py_tss_t));
}

void PyThread_tss_free(Py_tss_t *key)
{
    PyThread_tss_delete(key);
    free(key);
}

int PyThread_tss_is_created(Py_tss_t *key)
{
    return key != NULL && key_id(key) != 0;
}

int PyThread_tss_create(Py_tss_t *key)
{
    if (key == NULL) {
        return -1;
    }
    if (key_id(key) != 0) {
        return 0;
    }
    unsigned id = take_id();
    if (id == 0) {
        return -1;
    }
    int none = 0;
    /* Release: see key_id. */
    if (__atomic_compare_exchange_n(&key->_is_initialized, &none, (int)id, 0, __ATOMIC_RELEASE,
                                    __ATOMIC_RELAXED)) {
        copy_generation(key, id);
    } else {
        give_id(id, current_generation(id));
    }
    return 0;
}

void PyThread_tss_delete(Py_tss_t *key)
{
    unsigned id = key == NULL ? 0 : key_id(key);
    if (id == 0) {
        return;
    }
    unsigned generation = key_generation(key, id);
    /* The id becomes free only after the key has stopped naming it. In a child forked in between,
       the key is still created or is not, and in either case no other key has its id. */
    __atomic_store_n(&key->_key, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&key->_is_initialized, 0, __ATOMIC_RELEASE);
    give_id(id, generation);
}

/* Where find_entry looks first, nearly always with success: the entry is the id's, or is free, and
   then the id has no value. All other cases are in functions of their own, so that the usual one
   needs no stack frame. */
static inline struct entry *first_entry(unsigned id)
{
    struct table *table = own_table();
    return &table->entries[id & table->mask];
}

static __attribute__((cold, noinline)) int set_unusual(Py_tss_t *key, void *value)
{
    unsigned id = key_id(key), generation = key_generation(key, id);
    /* A key that was deleted, or never was one, is refused: the id may have another key by now. */
    if (generation % 2 == 0 || generation != current_generation(id)) {
        return -1;
    }
    return set_value(id, generation, value);
}

int PyThread_tss_set(Py_tss_t *key, void *value)
{
    if (key == NULL) {
        return -1;
    }
    unsigned id = key_id(key);
    struct entry *entry = first_entry(id);
    /* The id of a key that is not created is 0, as in a free entry. */
    if (entry->id != id || entry->generation != raw_generation(key) || id == 0) {
        return set_unusual(key, value);
    }
    entry->value = value;
    return 0;
}

static __attribute__((cold, noinline)) void *get_unusual(Py_tss_t *key)
{
    unsigned id = key_id(key);
    return get_value(id, key_generation(key, id));
}

void *PyThread_tss_get(Py_tss_t *key)
{
    if (key == NULL) {
        return NULL;
    }
    unsigned id = key_id(key);
    const struct entry *entry = first_entry(id);
    if (entry->id == id && entry->generation == raw_generation(key)) {
        return entry->value;
    }
    return entry->id == 0 ? NULL : get_unusual(key);
}

/* ------------------------------------------------------------------------
 * Keys as numbers: the id less one, so that the first key is 0. A number that is not a key has an
 * even generation, under which nothing is found or set.
 * --------------------------------------------------------------------- */

int PyThread_create_key(void)
{
    return (int)take_id() - 1;
}

void PyThread_delete_key(int key)
{
    unsigned id = (unsigned)key + 1;
    give_id(id, current_generation(id));
}

static inline int set_by_number(int key, void *value)
{
    unsigned id = (unsigned)key + 1, generation = current_generation(id);
    return generation % 2 == 0 ? -1 : set_value(id, generation, value);
}

int PyThread_set_key_value(int key, void *value)
{
    return set_by_number(key, value);
}

void PyThread_delete_key_value(int key)
{
    set_by_number(key, NULL);
}

void *PyThread_get_key_value(int key)
{
    unsigned id = (unsigned)key + 1;
    return get_value(id, current_generation(id));
}

void PyThread_ReInitTLS(void)
{
}
