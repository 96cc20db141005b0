/* dump.h - the internal function of dump.c. */
#ifndef DUMP_H
#define DUMP_H

/* Installs a handler that writes a dump to stderr, for the signal in PYTHREAD_DUMP_SIGNAL, if any.
 */
void dump_on_signal(void);

#endif
