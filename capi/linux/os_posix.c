/* os_posix.c - the default engine's, for the go command compiles what is in this folder. */
#include "../os_posix.c"
