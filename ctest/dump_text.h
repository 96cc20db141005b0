/* dump_text.h - the output of pythread_dump, as a text, and with a wait for a text. For tests. */
#ifndef DUMP_TEXT_H
#define DUMP_TEXT_H

#include "pythread.h"
#include "test.h"

/* Returns a dump as a text. The next call overwrites it. */
static inline const char *dump(void)
{
    enum { MOST = 1 << 20 };
    static char text[MOST];
    FILE *file = tmpfile();
    CHECK(file != NULL);
    EQ(pythread_dump(fileno(file)), 0);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static inline int count_in_dump(const char *expected)
{
    int count = 0;
    for (const char *at = dump(); (at = strstr(at, expected)) != NULL; at += strlen(expected)) {
        count++;
    }
    return count;
}

/* Checks that a dump has a text, made as by printf, so many times or more, now or before long. */
__attribute__((format(printf, 2, 3))) static inline void check_dump_counts(int times,
                                                                           const char *format, ...)
{
    char expected[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(expected, sizeof expected, format, arguments);
    va_end(arguments);
    for (int i = 0; i < 20000 && count_in_dump(expected) < times; i++) {
        sleep_ms(1);
    }
    if (count_in_dump(expected) < times) {
        fprintf(stderr, "not %d times \"%s\" in the dump:\n%s", times, expected, dump());
        test_fail();
    }
}

/* The same, once or more. A macro, since it passes its arguments on. */
#define check_dump_has(...) check_dump_counts(1, __VA_ARGS__)

#endif
