//@ teaches: linked with -z now: no lazy binding, so the whole GOT can become read-only
//@ cc: -fno-builtin -Wl,-z,now
//@ has: R_X86_64_JUMP_SLOT labs
//@ has: DT_FLAGS d_val=8
//@ has: DT_FLAGS_1 d_val=1
//@ has: PT_GNU_RELRO
//@ call: positive(i64 -3) -> i64 = 3

#include <stdlib.h>

// R_X86_64_JUMP_SLOT as ever, but DF_BIND_NOW asks for it to be bound when the library is loaded,
// and its slot lies in .got, inside PT_GNU_RELRO: afterwards nobody can overwrite it.
long positive(long number) { return labs(number); }
