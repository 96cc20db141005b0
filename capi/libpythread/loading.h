/* loading.h - restores the program's signal mask and handlers after Go's constructor. */
#ifndef LOADING_H
#define LOADING_H

/* Notes the signal mask and handlers before Go's constructor, which runs next. */
void loading_begins(void);

#endif
