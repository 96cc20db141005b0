/*
 * new_ident.h - checks that each thread has an ident of its own. For tests that link the library,
 * and for tests that load it.
 */
#ifndef NEW_IDENT_H
#define NEW_IDENT_H

#include "test.h"

#include <stdbool.h>

enum { MOST_IDENTS = 1000 };

/* Checks that an ident was not used before, and notes it. used[0] is true: no thread has ident 0.
 */
static inline void check_new_ident(bool used[MOST_IDENTS], unsigned long long ident)
{
    LT(ident, MOST_IDENTS);
    EQ(used[ident], false);
    used[ident] = true;
}

#endif
