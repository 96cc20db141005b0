/*
 * name.c - what of a thread's name is kept: as much as Linux keeps, on every system, so that a
 * program's threads have the same names everywhere. It is C because its callers are.
 *
 * Invariant: a name that was UTF-8 is UTF-8 when it was cut.
 */
#include "name.h"

#include <string.h>

void name_copy(char copy[NAME_SIZE], const char *name)
{
    enum { MOST_IN_CHARACTER = 4 };
    const char *end = memchr(name, '\0', NAME_SIZE);
    size_t length = end != NULL ? (size_t)(end - name) : NAME_SIZE - 1;
    if (end == NULL) {
        /* A byte 10xxxxxx goes on with a character, which began at most three bytes before. */
        for (int i = 1; i < MOST_IN_CHARACTER && ((unsigned char)name[length] & 0xC0) == 0x80;
             i++) {
            length--;
        }
        if (((unsigned char)name[length] & 0xC0) == 0x80) {
            length = NAME_SIZE - 1; /* It is no UTF-8. */
        }
    }
    memset(copy, 0, NAME_SIZE);
    memcpy(copy, name, length);
}
