/*
 * bcryptprimitives.c - the DLL from which the Go runtime gets its random numbers. Older versions of
 * Windows do not have it, nor does Wine 8. It is for tests alone.
 */
#include <windows.h>

#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size);

BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size)
{
    return RtlGenRandom(data, (ULONG)size);
}
