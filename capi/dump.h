/* dump.h - dump.c's part that is no public function. */
#ifndef DUMP_H
#define DUMP_H

/* Has the signal that PYTHREAD_DUMP_SIGNAL names, if any, write a dump to stderr from now on. */
void dump_on_signal(void);

#endif
