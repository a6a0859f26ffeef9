//@ needs: libprovider.so
//@ has: version foo@V1
//@ has: DT_VERNEED

// R_X86_64_JUMP_SLOT for foo, with V1 beside it in .gnu.version: exactly this version will do.
__asm__(".symver foo, foo@V1");
extern int foo(void);
int old_user(void) { return foo(); }
