/* name.h - how thread names are shortened. */
#ifndef NAME_H
#define NAME_H

/* The size of the longest name with its null byte. */
enum { NAME_SIZE = 16 };

/* Copies the name, shortened. */
void name_copy(char copy[NAME_SIZE], const char *name);

#endif
