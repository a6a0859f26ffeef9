//@ teaches: a program at a fixed address has copies of libc's variables and of functions' addresses: use those
//@ host: non-pie
//@ has: R_X86_64_GLOB_DAT stdout
//@ has: R_X86_64_GLOB_DAT puts
//@ call: is_stdout(ptr 0) -> i32 = 0

#include <stdio.h>

// R_X86_64_GLOB_DAT for stdout: `host` has an R_X86_64_COPY of it, and the definition in the program
// comes first in the search order.
int is_stdout(FILE **address) { return address == &stdout; }

// R_X86_64_GLOB_DAT for puts: `host` took the address of puts to be that of its own PLT entry. The
// symbol there is SHN_UNDEF with a value, and is the definition for every pointer to puts.
int is_puts(int (*address)(const char *)) { return address == puts; }

// R_X86_64_JUMP_SLOT for fputs: a call is not bound to such an entry but to the function itself.
int print(const char *text) { return fputs(text, stdout); }
