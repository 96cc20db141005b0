/* clean_plugin.c - a module with a thread-local variable, which clean_test.c loads and unloads. */
int plugin_count(void);

static __thread int count = 5;

/* 6 the first time in each thread, then 7 and so on. */
int plugin_count(void)
{
    return ++count;
}
