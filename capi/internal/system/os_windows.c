/*
 * os_windows.c - os.h on Windows 8 and newer, which has no signal masks and no fork.
 *
 * It calls the system, not the threads of the C library, which would need another DLL.
 */
#define _WIN32_WINNT 0x0602
#include "os.h"

#include <windows.h>

#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <string.h>
#include <sys/stat.h>

/* ------------------------------------------------------------------------ time and waits */

int64_t os_now_ns(void)
{
    /* In two steps, because the product of all ticks and 10^9 does not fit. */
    const int64_t second = 1000000000;
    LARGE_INTEGER frequency, ticks;
    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&ticks);
    return ticks.QuadPart / frequency.QuadPart * second +
           ticks.QuadPart % frequency.QuadPart * second / frequency.QuadPart;
}

int64_t os_about_now_ns(void)
{
    return os_now_ns();
}

/* Rounded up, and at most what a DWORD holds. The caller waits again if that was too short. */
static DWORD milliseconds_until(int64_t deadline)
{
    if (deadline == OS_NO_DEADLINE) {
        return INFINITE;
    }
    int64_t ns = deadline - os_now_ns();
    int64_t ms = ns > 0 ? (ns - 1) / 1000000 + 1 : 0;
    return ms < INFINITE ? (DWORD)ms : INFINITE - 1;
}

int os_wait(atomic_uint *word, unsigned expected, int64_t deadline)
{
    DWORD error = GetLastError();
    int result = 0;
    if (!WaitOnAddress(word, &expected, sizeof expected, milliseconds_until(deadline))) {
        /* The time is up. The system does not promise that this thread has not taken a wake-up too.
           So this passes one on. */
        WakeByAddressSingle(word);
        /* The timer of the system may be early by a tick. */
        result = os_now_ns() >= deadline ? ETIMEDOUT : 0;
    }
    SetLastError(error);
    return result;
}

void os_wake(atomic_uint *word, int count)
{
    if (count == 1) {
        WakeByAddressSingle(word);
    } else {
        WakeByAddressAll(word);
    }
}

/* ------------------------------------------------------------------------ threads */

struct os_range os_stack(void)
{
    return (struct os_range){0, 0};
}

unsigned long os_thread_id(void)
{
    return GetCurrentThreadId();
}

void os_set_name(const char name[OS_NAME_SIZE])
{
    /* Only Windows 10 and newer have names. */
    DWORD error = GetLastError();
    HMODULE library = GetModuleHandleW(L"kernelbase.dll");
    FARPROC found = library != NULL ? GetProcAddress(library, "SetThreadDescription") : NULL;
    HRESULT(WINAPI * set)(HANDLE, const wchar_t *);
    wchar_t wide[OS_NAME_SIZE];
    memcpy(&set, &found, sizeof set);
    if (set != NULL && MultiByteToWideChar(CP_UTF8, 0, name, -1, wide, OS_NAME_SIZE) != 0) {
        set(GetCurrentThread(), wide);
    }
    SetLastError(error);
}

/* The keys of TlsAlloc have no destructors, so these are keys of FlsAlloc. */
bool os_key_create(os_key *key, void(OS_KEY_DESTROY *destroy)(void *))
{
    *key = FlsAlloc(destroy);
    return *key != FLS_OUT_OF_INDEXES;
}

void *os_key_get(os_key key)
{
    return FlsGetValue(key);
}

bool os_key_set(os_key key, void *value)
{
    return FlsSetValue(key, value);
}

void os_key_delete(os_key key)
{
    FlsFree(key);
}

/* ------------------------------------------------------------------------ signals, forks, files */

os_signals os_signal_mask(void)
{
    return 0;
}

os_signals os_set_signal_mask(os_signals mask)
{
    return mask;
}

os_signals os_block_signals(void)
{
    return 0;
}

os_signals os_block_all_signals(void)
{
    return 0;
}

void os_unblock_signals(os_signals mask)
{
    (void)mask;
}

os_signals os_with_signal(os_signals signals, int signal)
{
    (void)signal;
    return signals;
}

bool os_is_any_signal(os_signals signals)
{
    return signals != 0;
}

void os_discard_signals(void)
{
}

atomic_uint *os_fork_word(void)
{
    static atomic_uint word;
    return &word;
}

int os_create(const char *path)
{
    int saved = errno;
    int fd = _open(path, _O_WRONLY | _O_CREAT | _O_TRUNC | _O_APPEND | _O_BINARY | _O_NOINHERIT,
                   _S_IREAD | _S_IWRITE);
    int result = fd >= 0 ? fd : -errno;
    errno = saved;
    return result;
}

void os_close(int fd)
{
    _close(fd);
}

int os_write(int fd, const void *bytes, size_t length)
{
    DWORD error = GetLastError();
    int saved = errno, failed = 0;
    for (const char *at = bytes; failed == 0 && length > 0;) {
        int written = _write(fd, at, (unsigned)length);
        if (written > 0) {
            at += written;
            length -= (size_t)written;
        } else {
            failed = errno;
        }
    }
    errno = saved;
    SetLastError(error);
    return failed;
}

/* ------------------------------------------------------------------------ for a dump */

void *os_map(size_t size)
{
    return VirtualAlloc(NULL, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

void os_unmap(void *pages, size_t size)
{
    (void)size;
    VirtualFree(pages, 0, MEM_RELEASE);
}

unsigned long os_process_id(void)
{
    return GetCurrentProcessId();
}

bool os_read(void *to, const void *from, size_t size)
{
    return ReadProcessMemory(GetCurrentProcess(), from, to, size, NULL);
}

bool os_look_at(unsigned long thread_id, char name[OS_NAME_SIZE], bool *runs)
{
    (void)thread_id, (void)name, (void)runs;
    return false;
}

/* ------------------------------------------------------------------------ processors */

int os_processors(void)
{
    DWORD_PTR process, system;
    int count = 1;
    if (GetProcessAffinityMask(GetCurrentProcess(), &process, &system)) {
        count = __builtin_popcountll(process);
    }
    return count > 0 ? count : 1;
}

int os_processor(void)
{
    return (int)GetCurrentProcessorNumber();
}

unsigned long os_move_from(int processor, unsigned long thread_id)
{
    (void)processor, (void)thread_id;
    return 0;
}

void os_set_processors(unsigned long set)
{
    (void)set;
}
