/*
 * tss.c - thread-specific storage: the keys of the process, and the values of each thread.
 *
 * Why C: a value costs a C caller about a nanosecond, a signal handler may read it, and storage
 * works in the child of a fork.
 *
 * A key is an id and a generation. When a key is deleted, a later key may get the same id, with a
 * higher generation. A thread keeps its values in a table of its own, which no other thread uses.
 * The table has the key of each value. So the deletion of a key need not clear anything in other
 * threads: their values under the same id have an older generation, and do not count.
 *
 * Invariant: a pair of id and odd generation is one key, for ever. There is no lock, and memory is
 * valid after every step. So the child of a fork can go on, whatever the other threads of the
 * parent were doing. For each of them it loses at most one id, which that thread was taking or
 * giving back.
 *
 * Callers: C programs, own_os_thread.c, trampoline.c, trampoline_windows.c.
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

/* Returns zeroed memory, or NULL with errno unchanged. The call goes through a volatile pointer
   because clang believes that calloc never changes errno, and would remove the line that restores
   it. */
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
 * The state of an id. The generation is odd while a key has the id, and even while the id is free.
 * It grows by one with each create and each delete. When it wraps to 0, the id is not used again.
 */
struct slot {
    atomic_uint generation;
    atomic_uint below; /* while free: the next id in the stack of free ids, 0 at its end */
};

/* Slots are in blocks, each twice as large as the one before. A block never moves, so no lock is
   needed to reach a slot. The first block is static; few programs need another. */
enum { FIRST_BITS = 10, BLOCKS = 32 - FIRST_BITS };
static struct slot first_block[1u << FIRST_BITS];
static _Atomic(struct slot *) blocks[BLOCKS] = {first_block};

/* The ids from 1 to newest_id have been used at least once. The largest id is INT_MAX. */
static atomic_uint newest_id;

/*
 * The stack of free ids. The lower half is the id on the top, the upper half is the generation of
 * that id. An id is pushed once in each generation. So if the top is unchanged, it is the same
 * push, with the same ids below it. The exchange that pops an id cannot mistake a later push of the
 * same id for the push that it has read.
 */
static _Atomic uint64_t free_top;

static uint64_t stack_top(unsigned id, unsigned generation)
{
    return (uint64_t)generation << 32 | id;
}

/* Returns the place of the block with the slot of an id (1 to INT_MAX), and the slot's index in it.
 */
static inline _Atomic(struct slot *) *find_block(unsigned id, unsigned *index)
{
    unsigned position = id - 1 + (1u << FIRST_BITS);
    unsigned bits = 31 - (unsigned)__builtin_clz(position);
    *index = position - (1u << bits);
    return &blocks[bits - FIRST_BITS];
}

/* Returns the slot of an id, or NULL if the id has no slot yet. */
static inline struct slot *find_slot(unsigned id)
{
    unsigned index;
    if (id - 1 >= INT_MAX) {
        return NULL;
    }
    /* Acquire: pairs with the exchange in make_slot, so that the caller sees zeroed slots. */
    struct slot *block = atomic_load_explicit(find_block(id, &index), memory_order_acquire);
    return block == NULL ? NULL : &block[index];
}

/* Returns the slot of an id, and allocates its block if necessary. NULL: no memory, or the id is
   too large. */
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

/* Returns the generation of an id: odd while a key has the id, 0 for an id that no key ever had.
   Relaxed: callers only compare the number. */
static inline unsigned current_generation(unsigned id)
{
    struct slot *slot = find_slot(id);
    return slot == NULL ? 0 : atomic_load_explicit(&slot->generation, memory_order_relaxed);
}

/* Takes a free id and begins its next generation, which makes a new key. 0: no memory or no id. */
static unsigned take_id(void)
{
    /* Acquire, here and where the exchange fails: pairs with the release of the push. The stack
       changes only by exchanges. So this also sees what was written before all earlier pushes: the
       slots of all ids in the stack. */
    uint64_t top = atomic_load_explicit(&free_top, memory_order_acquire);
    while (top != 0) {
        unsigned id = (unsigned)top;
        struct slot *slot = find_slot(id);
        unsigned below = atomic_load_explicit(&slot->below, memory_order_relaxed);
        if (atomic_compare_exchange_weak_explicit(&free_top, &top,
                                                  stack_top(below, current_generation(below)),
                                                  memory_order_acquire, memory_order_acquire)) {
            /* Relaxed: no other thread has the id, and the caller publishes both together. */
            atomic_store_explicit(&slot->generation, (unsigned)(top >> 32) + 1,
                                  memory_order_relaxed);
            return id;
        }
    }
    unsigned last = atomic_load_explicit(&newest_id, memory_order_relaxed);
    struct slot *slot;
    do {
        /* The slot comes first, because an id without a slot could not be given back. */
        slot = make_slot(last + 1);
        if (slot == NULL) {
            return 0;
        }
    } while (!atomic_compare_exchange_weak_explicit(&newest_id, &last, last + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    atomic_store_explicit(&slot->generation, 1, memory_order_relaxed);
    return last + 1;
}

/* Ends a key and gives its id back. Does nothing if the key has ended already. */
static void give_id(unsigned id, unsigned generation)
{
    struct slot *slot = find_slot(id);
    /* If several threads delete a key at once, the exchange succeeds in one, which pushes the id.
     */
    if (slot == NULL || generation % 2 == 0 ||
        !atomic_compare_exchange_strong_explicit(&slot->generation, &generation, generation + 1,
                                                 memory_order_relaxed, memory_order_relaxed)) {
        return;
    }
    generation++;
    if (generation == 0) {
        return; /* The generations of the id are used up. */
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

/* A value and its key. A free entry is all zero. */
struct entry {
    unsigned id, generation;
    void *value;
};

/* A thread's values: a hash table by id. At least one entry is free, so that a search ends. */
struct table {
    size_t mask; /* the number of entries, a power of two, minus one */
    size_t used; /* how many entries are not free, with those of deleted keys */
    struct entry entries[];
};

/* The number of entries in a thread's first table. */
enum { FEW = 4 };

/* A table for threads without values. Each search ends in its only entry, which is free. */
union empty_table {
    struct table table;
    char memory[sizeof(struct table) + sizeof(struct entry)];
};

/*
 * A thread begins with the table `nothing`, which all threads share and which has no room for
 * values. With its first value a thread gets a first table, and with more values a larger one on
 * the heap. So a thread needs only one pointer in the C library's memory for thread-local
 * variables. After the last of its destructors an OS thread has the table `closed`, which takes no
 * values.
 *
 * A signal handler may read values, as crash reporters do. So one pointer leads to the whole table.
 * It changes after the new table is ready, and before the old one is freed.
 */
static union empty_table nothing, closed;
THREAD_LOCAL struct table *_Atomic own = &nothing.table;

/* Relaxed here, and release below: only the thread and its signal handlers use the pointer. So only
   the compiler must keep the order. */
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
 * Returns the entry of an id, or the free entry for it. Ids are dense, so the search begins at the
 * id itself. A thread that uses all keys has its values side by side, and each search ends at once.
 * After a collision the probe mixes in the upper bits of the id, five with each step. After the
 * last of these bits it visits every entry.
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

/* Returns NULL for an even generation, which no key has: only a free entry can match it. */
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
 * First tables for as many threads at once; further ones are on the heap. These need no call of
 * malloc, which would make a heap for a new OS thread. In the child of a fork without fork
 * handlers, malloc could also block for ever.
 */
enum { FIRST_TABLES = 256 };
static struct first_table {
    _Alignas(64) char memory[sizeof(struct table) + FEW * sizeof(struct entry)];
    atomic_bool is_taken;
} first_tables[FIRST_TABLES];

/* Takes an empty first table, or returns NULL if a short search finds none. An OS thread always
   begins its search at the same place. */
static struct table *take_first_table(void)
{
    enum { TRIES = 8 };
    unsigned first = os_first_place();
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

/* Frees a table with room for values. Does nothing with NULL. */
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
 * The system's key whose destructor frees tables, plus 1. 0 while there is none. An OS thread that
 * has got a table has a value of this key, which counts the calls of the destructor.
 */
static _Atomic(os_key) exit_key;
static const char rounds[OS_KEY_ROUNDS];

const void *tss_key_value(void)
{
    return rounds;
}

/* Relaxed, here and below: the number publishes no other memory. */
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
        /* The next thread on this OS thread uses the table as its first one. */
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
 * The system calls this when an OS thread ends that has got a table, in each round of destructors.
 * The program's destructors may set values after it. It frees these in the next round. After the
 * last round a table would not be freed, so make_room makes none.
 */
static void OS_KEY_DESTROY end_os_thread(void *value)
{
    const char *next = (const char *)value + 1;
    free_table();
    if (next == rounds + OS_KEY_ROUNDS || !set_exit_value(next)) {
        set_own_table(&closed.table);
    }
}

/* Makes the key, unless there is one. False if the system has none left. */
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
 * Registers end_os_thread as a destructor of the calling OS thread. False if no memory is left. If
 * the system has no key left, a thread gets only its first table, and a thread that the library has
 * not started leaks it.
 */
static bool watch_os_thread(void)
{
    if (!has_exit_key()) {
        return own_table() == &nothing.table;
    }
    /* The value may be from a later round. */
    return os_key_get(known_exit_key() - 1) != NULL || set_exit_value(rounds);
}

/* True for an entry whose key has not been deleted, and whose value is not NULL. */
static bool is_in_use(const struct entry *entry)
{
    return entry->value != NULL && entry->generation == current_generation(entry->id);
}

/* Gives the thread a table with room for twice the values in use. False, and no change, if there is
   no memory. */
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
        /* This finds at most as many as the first loop, because a deleted key stays deleted. */
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

/* Sets the value of a key that is created. -1 if there is no memory. */
static int set_value(unsigned id, unsigned generation, void *value)
{
    struct table *table = own_table();
    struct entry *entry = find_entry(table, id);
    if (entry->id == 0) {
        if (value == NULL) {
            return 0; /* no value reads as NULL */
        }
        /* The table is at most three quarters full, so that searches are short. */
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
    /* The key is stored last, so that a signal handler finds no entry or the value. */
    atomic_signal_fence(memory_order_release);
    entry->generation = generation;
    entry->id = id;
    return 0;
}

/* ------------------------------------------------------------------------
 * Py_tss_t: _is_initialized is the id, _key the generation
 *
 * The id says whether the key is created. If several threads create the key at once, one makes the
 * exchange that replaces 0 by an id. The generation follows from the id. A generation of 0 has not
 * been copied from the slot yet. Any thread may copy it, because the creator of the key may be late
 * or, in the child of a fork, missing. The header declares plain fields, so builtins make the
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
    /* The id becomes free only after the key no longer has it. In a child that is forked between
       these steps, the key is created or not, and in both cases no other key has its id. */
    __atomic_store_n(&key->_key, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&key->_is_initialized, 0, __ATOMIC_RELEASE);
    give_id(id, generation);
}

/* Returns the entry that find_entry would check first. Nearly always it is the entry of the id; or
   it is free, and the id has no value. Other cases are in functions of their own, so that the usual
   case needs no stack frame. */
static inline struct entry *first_entry(unsigned id)
{
    struct table *table = own_table();
    return &table->entries[id & table->mask];
}

static __attribute__((cold, noinline)) int set_unusual(Py_tss_t *key, void *value)
{
    unsigned id = key_id(key), generation = key_generation(key, id);
    /* Refuses a key that was deleted or never created: another key may have the id now. */
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
 * Keys as numbers: the id minus one, so that the first key is 0. A number that is not a key has an
 * even generation, for which no value can be found or set.
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
