/*
 * tss.c - thread-specific storage: the keys of the process, and what each
 * thread keeps under them.
 *
 * A key is an id, given out again once the key is deleted, and a generation,
 * which makes every use of the id another key. A thread's values stand in a
 * table of its own that nobody else touches, each with the key that it was set
 * under; a deleted key needs no clearing anywhere, since what other threads
 * still hold under its id is of an older generation and counts as nothing.
 *
 * Invariant: a pair of id and odd generation is one key, for ever. There is no
 * lock, and after every single step what is in memory is valid: the child of a
 * fork goes on from wherever the threads it lost were, and loses at most the
 * id that each of them had in its hands.
 */
#include "tss.h"
#include "pythread.h"

#include "os.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Zeroed memory, or NULL with errno as it was. A compiler that knows calloc, as clang does, takes
   it to leave errno alone and would drop the restoring: hence the call of it does not know what. */
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
 * What the process knows of an id. The generation is even while the id is free
 * and odd while a key has it: it only ever grows, by one for each create and
 * each delete, and an id that comes back to 0 is used up.
 */
struct slot {
    atomic_uint generation;
    atomic_uint below; /* while free: the id under this one in the free stack, 0 at its end */
};

/* Blocks of slots, each twice as large as the one before: they never move, so a slot is reached
   without a lock. The first is there from the start, so a usual program allocates none. */
enum { FIRST_BITS = 10, BLOCKS = 32 - FIRST_BITS };
static struct slot first_block[1u << FIRST_BITS];
static _Atomic(struct slot *) blocks[BLOCKS] = {first_block};

/* Ids 1 to handed_out have been used; they go no further than an int does. */
static atomic_uint handed_out;

/*
 * The free stack: its top id, and above it, in the upper half, that id's
 * generation. An id is pushed once in each generation, so a top that a thread
 * finds unchanged is the same push still in place, with the same ids below it:
 * the exchange that pops cannot mistake a later push for it.
 */
static _Atomic uint64_t free_top;

static uint64_t stack_top(unsigned id, unsigned generation)
{
    return (uint64_t)generation << 32 | id;
}

/* Where the block is that the slot of an id, 1 to INT_MAX, stands in, and at which index. */
static inline _Atomic(struct slot *) *find_block(unsigned id, unsigned *index)
{
    unsigned position = id - 1 + (1u << FIRST_BITS);
    unsigned bits = 31 - (unsigned)__builtin_clz(position);
    *index = position - (1u << bits);
    return &blocks[bits - FIRST_BITS];
}

/* The slot of an id; NULL where none so large was ever handed out. */
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

/* The slot of an id, its block allocated if need be. NULL: no memory, or the id is too large. */
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

/* The generation that an id is in: odd while a key has it, 0 where it never had one. Relaxed:
   nothing else is read on the strength of it. */
static inline unsigned current_generation(unsigned id)
{
    struct slot *slot = find_slot(id);
    return slot == NULL ? 0 : atomic_load_explicit(&slot->generation, memory_order_relaxed);
}

/* Takes an id and enters its next generation, which is a new key. 0: no memory, or no id left. */
static unsigned take_id(void)
{
    /* Acquire, here and where the exchange fails: the top is read together with all that was
       written before its push, and, since the stack changes by exchanges alone, before every
       earlier push: the slots of the ids below it are as they were pushed. */
    uint64_t top = atomic_load_explicit(&free_top, memory_order_acquire);
    while (top != 0) {
        unsigned id = (unsigned)top;
        struct slot *slot = find_slot(id);
        unsigned below = atomic_load_explicit(&slot->below, memory_order_relaxed);
        if (atomic_compare_exchange_weak_explicit(&free_top, &top,
                                                  stack_top(below, current_generation(below)),
                                                  memory_order_acquire, memory_order_acquire)) {
            /* Relaxed: the id is the caller's alone, who publishes it together with this. */
            atomic_store_explicit(&slot->generation, (unsigned)(top >> 32) + 1,
                                  memory_order_relaxed);
            return id;
        }
    }
    unsigned last = atomic_load_explicit(&handed_out, memory_order_relaxed);
    struct slot *slot;
    do {
        /* The slot first: an id that was taken without one could not be given back. */
        slot = make_slot(last + 1);
        if (slot == NULL) {
            return 0;
        }
    } while (!atomic_compare_exchange_weak_explicit(&handed_out, &last, last + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    atomic_store_explicit(&slot->generation, 1, memory_order_relaxed);
    return last + 1;
}

/* Ends a key, and gives its id back. Does nothing where there is no such key, or no longer. */
static void give_id(unsigned id, unsigned generation)
{
    struct slot *slot = find_slot(id);
    /* The exchange decides between threads that delete one key at once: the id is pushed once. */
    if (slot == NULL || generation % 2 == 0 ||
        !atomic_compare_exchange_strong_explicit(&slot->generation, &generation, generation + 1,
                                                 memory_order_relaxed, memory_order_relaxed)) {
        return;
    }
    generation++;
    if (generation == 0) {
        return; /* Used up: in another round its keys would be taken for older ones. */
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

/* A value and the key it was set under; all zero where there is none. */
struct entry {
    unsigned id, generation;
    void *value;
};

/* A thread's values: a hash table by id, always with a free entry, so that a search ends. */
struct table {
    size_t mask; /* the number of entries, a power of two, less one */
    size_t used; /* how many are taken, by values in use or not */
    struct entry entries[];
};

/* A table that is not allocated. */
enum { FEW = 4 };
union small_table {
    struct table table;
    char memory[sizeof(struct table) + FEW * sizeof(struct entry)];
};

/*
 * A thread begins with the table that all share, which is full with no value
 * at all; goes on to the few entries that it has anyway, which cost no
 * allocation and no destructor; and from there to the heap. A signal handler
 * may read values, as crash reporters do: one pointer leads to the whole table,
 * which changes when the new one is ready and before the old one is freed.
 */
static union small_table nothing;
THREAD_LOCAL union small_table few;
THREAD_LOCAL struct table *_Atomic own = &nothing.table;

/* Relaxed and release: a thread and its own signal handlers, which only the compiler could put in
   disorder. */
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
 * The entry of an id, or the free one where it belongs. Ids are dense, so the
 * id itself is the first place to look: a thread that uses them all has its
 * values side by side and never looks twice. Where ids are apart the upper bits
 * are drawn in step by step; when they are all in, the probe runs through every
 * entry.
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

/* An even generation finds the NULL of a free entry at most. */
static inline void *get_value(unsigned id, unsigned generation)
{
    const struct entry *entry = find_entry(own_table(), id);
    return entry->generation == generation ? entry->value : NULL;
}

/* The system's key whose destructor frees tables on the heap, plus 1; 0 while there is none. */
static _Atomic(os_key) exit_key;

static void drop_table(struct table *table)
{
    if (table == &few.table) {
        memset(&few, 0, sizeof few);
    } else {
        free(table);
    }
}

const void *tss_key_value(void)
{
    return &few;
}

void tss_thread_end(void)
{
    struct table *table = own_table();
    if (table != &nothing.table) {
        set_own_table(&nothing.table);
        if (table != &few.table) {
            /* The OS thread has nothing to free any more. */
            os_key_set(atomic_load_explicit(&exit_key, memory_order_relaxed) - 1, NULL);
        }
        drop_table(table);
    }
}

_Static_assert(sizeof(union small_table) <= sizeof((struct tss_values *)0)->few,
               "a thread's few entries fit in what it is put aside in");

void tss_swap(struct tss_values *values)
{
    struct table *table = own_table();
    union small_table small = few;
    /* Which is all zero where the table is not in it. Meanwhile a signal handler finds no value. */
    set_own_table(&nothing.table);
    memcpy(&few, values->few, sizeof few);
    set_own_table(values->table != NULL ? values->table
                  : few.table.mask == 0 ? &nothing.table
                                        : &few.table);
    values->table = table == &few.table || table == &nothing.table ? NULL : table;
    memcpy(values->few, &small, sizeof small);
}

void tss_drop(struct tss_values *values)
{
    free(values->table);
    *values = (struct tss_values){0};
}

/* How often that destructor has run on this thread. */
THREAD_LOCAL int exit_rounds;

/*
 * Runs when an OS thread with a table on the heap ends. Destructors of the
 * program that run after it may set values: then it runs again in the next
 * round. Behind the last round nobody would free a table, so none is given.
 */
static void OS_KEY_DESTROY end_os_thread(void *unused)
{
    (void)unused;
    exit_rounds++;
    tss_thread_end();
}

/* Sees to it that the calling OS thread runs end_os_thread. False if the system cannot. */
static bool watch_os_thread(void)
{
    /* Relaxed, here and below: the number is all there is to know, the system orders the rest. */
    os_key key = atomic_load_explicit(&exit_key, memory_order_relaxed), made;
    if (key == 0) {
        if (!os_key_create(&made, end_os_thread)) {
            return false;
        }
        if (atomic_compare_exchange_strong_explicit(&exit_key, &key, made + 1, memory_order_relaxed,
                                                    memory_order_relaxed)) {
            key = made + 1;
        } else {
            os_key_delete(made);
        }
    }
    return os_key_set(key - 1, &few);
}

/* Whether an entry has a value that can still be read: not one of a key deleted since. */
static bool is_in_use(const struct entry *entry)
{
    return entry->value != NULL && entry->generation == current_generation(entry->id);
}

/* Gives the thread a table with room for what is in use, and as much again. False, and nothing has
   changed, if there is no memory. */
static bool make_room(void)
{
    struct table *old = own_table();
    if (old == &nothing.table) {
        few.table.mask = FEW - 1;
        set_own_table(&few.table);
        return true;
    }
    if (exit_rounds == OS_KEY_ROUNDS) {
        return false;
    }
    size_t in_use = 0, size = 2 * FEW;
    for (size_t i = 0; i <= old->mask; i++) {
        in_use += is_in_use(&old->entries[i]);
    }
    while (size < 2 * (in_use + 1)) {
        size *= 2;
    }
    struct table *table = allocate(1, sizeof *table + size * sizeof(struct entry));
    if (table == NULL || !watch_os_thread()) {
        free(table);
        return false;
    }
    table->mask = size - 1;
    for (size_t i = 0; i <= old->mask; i++) {
        /* Asked again, it is never more, since no key comes to life again. */
        if (is_in_use(&old->entries[i])) {
            *find_entry(table, old->entries[i].id) = old->entries[i];
            table->used++;
        }
    }
    set_own_table(table);
    drop_table(old);
    return true;
}

/* Sets a value of a key that there is. -1 if there is no memory. */
static int set_value(unsigned id, unsigned generation, void *value)
{
    struct table *table = own_table();
    struct entry *entry = find_entry(table, id);
    if (entry->id == 0) {
        if (value == NULL) {
            return 0; /* It is. */
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
    /* The key last: a signal handler finds nothing under it, or the value. */
    atomic_signal_fence(memory_order_release);
    entry->generation = generation;
    entry->id = id;
    return 0;
}

/* ------------------------------------------------------------------------
 * Py_tss_t: _is_initialized is the id, _key the generation
 *
 * The id alone says whether there is a key: the exchange that puts one in place
 * of 0 decides which of several threads creates it. The generation follows from
 * the id; 0 stands for one that has yet to be copied from the slot, which any
 * thread can do, should the one that created the key be late or, in the child
 * of a fork, gone. The fields are plain in the header, hence the builtins, which
 * make the accesses atomic.
 * --------------------------------------------------------------------- */

/* Acquire: pairs with the exchange in PyThread_tss_create, so that whoever sees an id finds its
   slot, with the generation in it. */
static inline unsigned key_id(const Py_tss_t *key)
{
    return (unsigned)__atomic_load_n(&key->_is_initialized, __ATOMIC_ACQUIRE);
}

/* Copies the generation into the key. Relaxed: all who write it write the same. */
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
    /* The id becomes free when the key no longer names it: in a child that is forked in between the
       key is created still, or is not, and shares its id with no other. */
    __atomic_store_n(&key->_key, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&key->_is_initialized, 0, __ATOMIC_RELEASE);
    give_id(id, generation);
}

/* Where find_entry looks first, and nearly always no further: at the entry of the id, or at a free
   one, which says that there is none. The rest is in functions apart, so that this needs no stack.
 */
static inline struct entry *first_entry(unsigned id)
{
    struct table *table = own_table();
    return &table->entries[id & table->mask];
}

static __attribute__((cold, noinline)) int set_unusual(Py_tss_t *key, void *value)
{
    unsigned id = key_id(key), generation = key_generation(key, id);
    /* Here a key that was deleted, or never was one, comes to light: it may not take the entry of
       the key that has the id now. */
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
    /* A key that is not created looks like a free entry. */
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
 * Numbers for keys: the id less one, so that the first is 0. A number that is
 * no key has an even generation, with which nothing is found or set.
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
