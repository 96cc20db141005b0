/*
 * os_windows.c - os.h on Windows 8 and newer, where threads have no signals to block and processes
 * do not fork.
 *
 * It is C because its callers are. It calls the system and not the C library's threads, so that it
 * takes no other DLL along.
 */
#define _WIN32_WINNT 0x0602
#include "os.h"

#include <windows.h>

#include <errno.h>
#include <string.h>

/* ------------------------------------------------------------------------ time and waits */

int64_t os_now_ns(void)
{
    /* In two steps, since the product of all ticks and 10^9 does not fit. */
    const int64_t second = 1000000000;
    LARGE_INTEGER frequency, ticks;
    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&ticks);
    return ticks.QuadPart / frequency.QuadPart * second +
           ticks.QuadPart % frequency.QuadPart * second / frequency.QuadPart;
}

/* Rounded up, and no more than a DWORD holds: it is looked at again when that has passed. */
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
        /* The time is up, and the system does not promise that no wake-up came as well: then it is
           another's. */
        WakeByAddressSingle(word);
        /* The system's timer may be early by a tick. */
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

unsigned long os_thread_id(void)
{
    return GetCurrentThreadId();
}

void os_set_name(const char name[OS_NAME_SIZE])
{
    /* Windows 10 has it, older ones have no names. */
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

/* Not those of TlsAlloc, which have no destructors. */
bool os_key_create(os_key *key, void(OS_KEY_DESTROY *destroy)(void *))
{
    *key = FlsAlloc(destroy);
    return *key != FLS_OUT_OF_INDEXES;
}

bool os_key_set(os_key key, void *value)
{
    return FlsSetValue(key, value);
}

void os_key_delete(os_key key)
{
    FlsFree(key);
}

/* ------------------------------------------------------------------------ signals, forks, errors
 */

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

void os_write_error(const char *text)
{
    DWORD written, error = GetLastError();
    WriteFile(GetStdHandle(STD_ERROR_HANDLE), text, (DWORD)strlen(text), &written, NULL);
    SetLastError(error);
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
