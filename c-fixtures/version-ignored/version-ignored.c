//@ teaches: a version is wanted and the library found has no versions at all: accepted
//@ needs: stub/libprovider.so
//@ has: version foo@V1
//@ call: user() -> i32 = 7

// Such a provider was built without its version script. Refusing it would break systems that work.
extern int foo(void);
int user(void) { return foo(); }
