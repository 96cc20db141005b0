/* dump.h - what other files need of dump.c. */
#ifndef DUMP_H
#define DUMP_H

/* Installs a handler that writes a dump to stderr, for the signal in PYTHREAD_DUMP_SIGNAL, if any.
 */
void dump_on_signal(void);

/* What the library could not do for the program at load, which a dump says; NULL if all was done.
 */
extern const char *dump_shortcoming;

#endif
