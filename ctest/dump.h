/* dump.h - what pythread_dump says, for the tests alone: as a text, and awaited. */
#ifndef DUMP_H
#define DUMP_H

#include "pythread.h"
#include "test.h"

/* A dump, as a text. The next call overwrites it. */
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

/* Checks that a dump has a text, made as by printf, now or before long. */
__attribute__((format(printf, 1, 2))) static inline void check_dump_has(const char *format, ...)
{
    char expected[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(expected, sizeof expected, format, arguments);
    va_end(arguments);
    for (int i = 0; i < 20000 && strstr(dump(), expected) == NULL; i++) {
        sleep_ms(1);
    }
    if (strstr(dump(), expected) == NULL) {
        fprintf(stderr, "no \"%s\" in the dump:\n%s", expected, dump());
        test_fail();
    }
}

#endif
