//@ teaches: a call into another library goes through the PLT: R_X86_64_JUMP_SLOT
//@ cc: -fno-builtin
//@ has: R_X86_64_JUMP_SLOT strlen
//@ has: R_X86_64_JUMP_SLOT labs
//@ has: version labs@GLIBC_2.2.5
//@ has: DT_JMPREL
//@ has: DT_PLTGOT
//@ has: no DT_FLAGS
//@ call: length(str "hello") -> u64 = 5
//@ call: positive(i64 -3) -> i64 = 3

#include <stdlib.h>
#include <string.h>

// R_X86_64_JUMP_SLOT: the slot is a word of .got.plt. In the file it holds the p_vaddr of the
// second instruction of this function's PLT entry, for a loader that binds at the first call; one
// that binds now stores the function's address over it.
long positive(long number) { return labs(number); }

// strlen is an IFUNC of libc: its symbol's value is a resolver, which is called for the address.
unsigned long length(const char *text) { return strlen(text); }
