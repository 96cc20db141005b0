// A C++ thread_local object for own_os_thread_test.c, which counts its constructions.
#include "counted_object.h"

#include <atomic>
#include <pthread.h>

namespace
{

std::atomic<int> objects_constructed, objects_destroyed;

struct Object {
    pthread_t owner = pthread_self();
    bool touched = false;

    Object()
    {
        objects_constructed++;
    }

    ~Object()
    {
        if (pthread_equal(owner, pthread_self())) {
            objects_destroyed++;
        }
    }
};

thread_local Object object;

} // namespace

void touch_object()
{
    object.touched = true;
}

bool object_was_touched()
{
    return object.touched;
}

int constructed()
{
    return objects_constructed;
}

int destroyed()
{
    return objects_destroyed;
}
