/* name.h - what of a thread's name is kept. */
#ifndef NAME_H
#define NAME_H

/* The longest name, and its end. */
enum { NAME_SIZE = 16 };

/* Copies what is kept of the name. */
void name_copy(char copy[NAME_SIZE], const char *name);

#endif
