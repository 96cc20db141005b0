/* status.c - the one that the default engine has too. The go command compiles only what is in this
 * folder. */
#include "../status.c"
