/*
 * name.c - how thread names are shortened: to the length that Linux keeps, so that the threads of a
 * program have the same names on every system.
 *
 * Invariant: a name in UTF-8 is still UTF-8 after the cut.
 *
 * Callers: thread.c.
 */
#include "name.h"

#include <string.h>

void name_copy(char copy[NAME_SIZE], const char *name)
{
    enum { MOST_IN_CHARACTER = 4 };
    const char *end = memchr(name, '\0', NAME_SIZE);
    size_t length = end != NULL ? (size_t)(end - name) : NAME_SIZE - 1;
    if (end == NULL) {
        /* A byte 10xxxxxx continues a character, which begins at most three bytes before it. */
        for (int i = 1; i < MOST_IN_CHARACTER && ((unsigned char)name[length] & 0xC0) == 0x80;
             i++) {
            length--;
        }
        if (((unsigned char)name[length] & 0xC0) == 0x80) {
            length = NAME_SIZE - 1; /* The name is not UTF-8. */
        }
    }
    memset(copy, 0, NAME_SIZE);
    memcpy(copy, name, length);
}
