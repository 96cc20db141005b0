/*
 * bcryptprimitives.c - the DLL of that name that the Go runtime wants for its random numbers, for
 * systems that stand in for an older Windows, as Wine 8 does. It is for tests alone.
 */
#include <windows.h>

#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size);

BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size)
{
    return RtlGenRandom(data, (ULONG)size);
}
