/*
 * nofile.h - keeps the program's soft limit on open files (RLIMIT_NOFILE), which Go raises when it
 * starts.
 *
 * It keeps the limit that the program has set last, if nofile_note was called between that and the
 * change by Go.
 */
#ifndef NOFILE_H
#define NOFILE_H

/* Notes the limit, unless it is Go's. Called while Go starts, by any thread. */
void nofile_note(void);

/* Restores the limit that was noted last, if Go has raised it since. */
void nofile_restore(void);

#endif
