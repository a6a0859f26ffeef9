//@ has: SHN_UNDEF nowhere
//@ has: R_X86_64_GLOB_DAT nowhere

#include <stdio.h>

// R_X86_64_GLOB_DAT against a symbol that is neither defined nor weak.
extern int nowhere;
int bottom(void) { return nowhere; }

__attribute__((constructor)) static void start(void) { puts("bottom started"); }
