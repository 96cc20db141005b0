/* plugin.h - the functions of the plugin. */
#ifndef PLUGIN_H
#define PLUGIN_H

#include <pythread.h>

/* A number, and the lock that guards it. */
struct counter {
    PyThread_type_lock lock;
    long value;
};

struct plugin {
    /* Adds 1, `times` times. */
    void (*count)(struct counter *counter, int times);
    /* Starts a thread that adds 1 a thousand times. False if it did not start. */
    int (*start_counting)(struct counter *counter, PyThread_handle_t *thread);
    /* Joins a thread. Returns 0 or an errno. */
    int (*join)(PyThread_handle_t thread);
    /* Sets the name of the calling thread, without a copy; and returns the name. */
    void (*set_name)(const char *name);
    const char *(*name)(void);
};

/* The program finds this by its name. */
extern const struct plugin plugin;

#endif
