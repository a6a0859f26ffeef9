//@ teaches: a symbol that nobody defines: refused under RTLD_NOW, and no constructor has run
//@ has: SHN_UNDEF nowhere
//@ has: R_X86_64_JUMP_SLOT nowhere
//@ refuse: undefined symbol: nowhere
//@ call: user() -> i32

#include <stdio.h>

// R_X86_64_JUMP_SLOT against a symbol that is neither defined nor weak.
extern int nowhere(void);
int user(void) { return nowhere(); }

// This line must not be seen.
__attribute__((constructor)) static void start(void) { puts("started"); }
