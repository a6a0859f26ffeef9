//@ needs: stub/libprovider.so
//@ has: R_X86_64_JUMP_SLOT foo
//@ has: no version foo@V1
//@ has: no version foo@V2

// R_X86_64_JUMP_SLOT for foo without a version, as in a library that was linked before the
// provider had any: the oldest version is what it was made for, and what it gets.
extern int foo(void);
int plain_user(void) { return foo(); }
