//@ teaches: a version that the library found does not have: refused before anything runs
//@ needs: stub/libprovider.so
//@ has: version foo@V9
//@ refuse: version `V9' not found
//@ call: user() -> i32

// Linked against a provider with V9; the one found at run time has only V1.
extern int foo(void);
int user(void) { return foo(); }
