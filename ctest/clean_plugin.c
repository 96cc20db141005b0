/*
 * clean_plugin.c - a module with a thread-local variable, which clean_test.c loads and unloads. It
 * calls the program when it comes and when it goes. It is built twice: the variable is in a block
 * of its own, or in the static area of each thread.
 */
#include <stddef.h>

int plugin_count(void);

/* The program defines this. The plugin calls it with the function below. */
extern void (*plugin_calls)(int (*count)(void));

/* As large as PLUGIN_SIZE says: the static area has no room for a large one. */
static __thread union {
    int count;
    char room[PLUGIN_SIZE];
} own = {.count = 5};

/* 6 the first time in each thread, then 7 and so on. */
int plugin_count(void)
{
    return ++own.count;
}

static void call(void)
{
    if (plugin_calls != NULL) {
        plugin_calls(plugin_count);
    }
}

__attribute__((constructor)) static void at_load(void)
{
    call();
}

__attribute__((destructor)) static void at_unload(void)
{
    call();
}
