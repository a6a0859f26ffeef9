//@ needs: stub/libifunc-cycle-back.so
//@ has: DT_NEEDED libifunc-cycle-back.so
//@ has: R_X86_64_JUMP_SLOT chosen

extern int chosen(void);

// R_X86_64_JUMP_SLOT: its resolver is in libifunc-cycle-back.so, which needs this library.
int other(void) { return 10 + chosen(); }
