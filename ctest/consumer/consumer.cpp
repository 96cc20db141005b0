// consumer.cpp - a C++ program that uses an installed copy: threads that run lambdas under a lock.
#include <pythread.h>

#include <functional>
#include <iostream>
#include <vector>

int main()
{
    PyThread_type_lock lock = PyThread_allocate_lock();
    int count = 0;
    std::function<void()> work = [&] {
        PyThread_acquire_lock(lock, WAIT_LOCK);
        ++count;
        PyThread_release_lock(lock);
    };
    std::vector<PyThread_handle_t> handles(8);
    for (PyThread_handle_t &handle : handles) {
        PyThread_ident_t ident;
        if (PyThread_start_joinable_thread(
                [](void *arg) { (*static_cast<std::function<void()> *>(arg))(); }, &work, &ident,
                &handle) != 0) {
            return 1;
        }
    }
    for (PyThread_handle_t handle : handles) {
        PyThread_join_thread(handle);
    }
    PyThread_free_lock(lock);
    std::cout << "C++: " << count << " threads, pythread " << pythread_version() << '\n';
    return count == 8 ? 0 : 1;
}
