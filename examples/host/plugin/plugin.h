/* plugin.h - what the plugin offers to a program that loads it. */
#ifndef PLUGIN_H
#define PLUGIN_H

#include <pythread.h>

/* A number that every thread changes under the lock alone. */
struct counter {
    PyThread_type_lock lock;
    long value;
};

struct plugin {
    /* Adds 1 that often. */
    void (*count)(struct counter *counter, int times);
    /* Starts a thread that adds 1 a thousand times. False where it did not start. */
    int (*start_counting)(struct counter *counter, PyThread_handle_t *thread);
    /* Waits for a thread, and returns its errno: 0 when it has ended. */
    int (*join)(PyThread_handle_t thread);
    /* Gives the calling thread a name, which has to last; and the name of the calling thread. */
    void (*set_name)(const char *name);
    const char *(*name)(void);
};

/* The plugin has one, by the name of plugin. */
extern const struct plugin plugin;

#endif
