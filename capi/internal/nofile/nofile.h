/*
 * nofile.h - the program's soft limit on open files (RLIMIT_NOFILE), which Go raises when it
 * starts.
 *
 * The limit that the program has set last is kept, if nofile_note was called since, and before Go
 * raised it.
 */
#ifndef NOFILE_H
#define NOFILE_H

/* Notes the limit, unless it is what Go makes of it. Called while Go starts, by any thread. */
void nofile_note(void);

/* Puts back the limit that was noted last, if Go has raised it since. */
void nofile_restore(void);

#endif
