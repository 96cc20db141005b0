/* loading.h - what Go's constructor changes in a C program is changed back. */
#ifndef LOADING_H
#define LOADING_H

/* Notes what Go's constructor, which runs next, may change. */
void loading_begins(void);

#endif
