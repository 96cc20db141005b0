/* counted_object.h - a C++ thread_local object that counts its constructions (counted_object.cpp).
 */
#ifndef COUNTED_OBJECT_H
#define COUNTED_OBJECT_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

void touch_object(void);
bool object_was_touched(void);
int constructed(void);
int destroyed(void);

#ifdef __cplusplus
}
#endif

#endif
