//@ needs: libprovider.so
//@ has: version foo@V2
//@ has: DT_VERNEED

// R_X86_64_JUMP_SLOT for foo: the linker noted the default version, V2.
extern int foo(void);
int new_user(void) { return foo(); }
