# pymutex_test.sh - mutexes in programs that other tools and headers have made.
. "$(dirname "$0")/test.sh"

# The sanitizer does not see into the library: where it is not told what that does, it takes the
# two sides of a lock that was waited for as a race.
test_thread_sanitizer_reports_no_race() {
    cat >program.c <<'END'
#include <pylock.h>
#include <stdio.h>

static PyMutex mutex;
static long count;

static void add(void *way)
{
    for (int i = 0; i < 20000; i++) {
        if (way != NULL) {
            (PyMutex_Lock)(&mutex);
            count++;
            (PyMutex_Unlock)(&mutex);
        } else {
            PyMutex_Lock(&mutex);
            count++;
            PyMutex_Unlock(&mutex);
        }
    }
}

static void *run(void *way)
{
    add(way);
    return NULL;
}

int main(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        if (pthread_create(&threads[i], NULL, run, i % 2 == 0 ? NULL : &mutex) != 0) {
            return 1;
        }
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("%ld\n", count);
    return count != 80000;
}
END
    "$CC" -fsanitize=thread -g -I"$source_dir/include" program.c "$PYTHREAD_LIBRARY" \
        -Wl,-rpath,"$binary_dir" -lpthread -o program 2>errors ||
        skip "the compiler has no ThreadSanitizer: $(cat errors)"
    ./program
}

main "$@"
