//@ teaches: -Bsymbolic: a library that prefers its own definitions, in the linker and in the loader
//@ needs: libselfish.so
//@ has: STT_FUNC number
//@ call: number() -> i32 = 1
//@ call: selfish_number() -> i32 = 2
//@ call: selfish_variable() -> i32 = 2

// This library comes first in the search order; libselfish.so defines the same names.
int number(void) { return 1; }
int variable = 1;
