//@ teaches: a function given to atexit by a library runs when the library is closed, before its code is gone
//@ has: R_X86_64_JUMP_SLOT __cxa_atexit
//@ has: R_X86_64_GLOB_DAT __cxa_finalize
//@ has: DT_FINI_ARRAY
//@ call: answer() -> i32 = 42
//@ prints: destructor
//@ prints: registered last
//@ prints: registered first

#include <stdio.h>
#include <stdlib.h>

static void first(void) { puts("registered first"); }
static void last(void) { puts("registered last"); }

// R_X86_64_JUMP_SLOT for __cxa_atexit: atexit is a small function that the linker puts into each
// library; it passes on whose request this is, the address of __dso_handle.
__attribute__((constructor)) static void start(void) {
    atexit(first);
    atexit(last);
}

// crtbeginS.o brings a function that calls __cxa_finalize with this library's __dso_handle. It is the
// first word of DT_FINI_ARRAY, which runs from its end: so it comes after this destructor.
__attribute__((destructor)) static void stop(void) { puts("destructor"); }

int answer(void) { return 42; }
