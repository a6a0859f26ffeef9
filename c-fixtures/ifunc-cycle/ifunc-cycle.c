//@ teaches: two libraries that need each other, and an IFUNC in the one that is relocated first
//@ needs: libother.so
//@ has: R_X86_64_JUMP_SLOT chosen
//@ has: STT_FUNC ten
//@ call: call_chosen() -> i32 = 2
//@ call: other() -> i32 = 10

extern int chosen(void);

int ten(void) { return 10; }

// R_X86_64_JUMP_SLOT: its resolver is in libother.so, which needs this library.
int call_chosen(void) { return chosen(); }
